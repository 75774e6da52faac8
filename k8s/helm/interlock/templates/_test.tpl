{{- define "interlock.test.spec" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
restartPolicy: Never
securityContext: {{- include "interlock.pod.security" . | nindent 2 }}
containers:
  - name: test
    image: {{ include "interlock.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/opt/interlock/bin/python, -c]
    args:
      - {{ .Files.Get "files/decision_test.py" | quote }}
    env:
      - {name: MCP_PORT, value: {{ int .Values.sidecar.port | quote }}}
      - {name: ALLOWED, value: {{ .Values.tests.allowed | quote }}}
      - {name: DENIED, value: {{ .Values.tests.denied | quote }}}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 128Mi}
    securityContext: {{- include "interlock.container.security" (dict "uid" .Values.agent.uid "gid" .Values.agent.uid) | nindent 6 }}
{{- end -}}
