{{- define "interlock.agent.spec" -}}
{{- $agent := .Values.agent -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "interlock.pod.security" . | nindent 2 }}
terminationGracePeriodSeconds: {{ int $agent.terminationGracePeriodSeconds }}
{{- if ne $agent.kind "Deployment" }}
restartPolicy: Never
{{- end }}
containers:
  - name: agent
    image: {{ $agent.image | quote }}
    {{- with $agent.command }}
    command: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $agent.args }}
    args: {{- toYaml . | nindent 6 }}
    {{- end }}
    env:
      - name: MCP_URL
        value: {{ printf "http://127.0.0.1:%d/mcp" (int .Values.sidecar.port) | quote }}
      {{- with $agent.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $agent.resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext: {{- include "interlock.container.security" (dict "uid" $agent.uid "gid" $agent.uid) | nindent 6 }}
{{- with $agent.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $agent.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $agent.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "interlock.agent.template" -}}
{{- $annotations := include "interlock.pod.annotations" . | fromYaml | merge (deepCopy .Values.agent.podAnnotations) -}}
metadata:
  labels:
    {{- include "interlock.selector" . | nindent 4 }}
    app.kubernetes.io/component: agent
    interlock/sidecar: "true"
    {{- range $key, $value := .Values.agent.podLabels }}
    {{ $key }}: {{ $value | quote }}
    {{- end }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- $spec := include "interlock.agent.spec" . | fromYaml }}
  {{- include "interlock.podSpec" (dict "root" . "spec" $spec) | nindent 2 }}
{{- end -}}
