{{/*
The container, defined once: the chart's pods, the kustomize Component and any chart that depends on this one have it
from here.

Takes a dict: `root` (the chart's context) and `as`: `sidecar`, or `gateway` for one that serves other pods. `upstream`
stands in for the ConfigMap's server, for tests.
*/}}
{{- define "interlock.container" -}}
{{- $values := .root.Values -}}
{{- $gateway := eq .as "gateway" -}}
{{- $file := eq $values.config.mode "file" -}}
name: interlock
image: {{ include "interlock.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if and $values.sidecar.native (not $gateway) }}
restartPolicy: Always
{{- end }}
args:
  - run
  - {{ ternary "--config=/etc/interlock/interlock.yaml" "--policy=/etc/interlock/policy.yaml" $file | quote }}
  - {{ printf "--listen=%s:%d" (ternary "0.0.0.0" "127.0.0.1" $gateway) (int $values.sidecar.port) | quote }}
  - {{ printf "--admin=%s:%d" $values.sidecar.adminHost (int $values.sidecar.adminPort) | quote }}
  - --state=/var/lib/interlock/limits.state
  - {{ printf "--workers=%d" (int $values.sidecar.workers) | quote }}
  - {{ printf "--grace=%v" (ternary $values.gateway.grace $values.sidecar.grace $gateway) | quote }}
  {{- if not $file }}
  - {{ printf "--name=%s" $values.sidecar.serverName | quote }}
  {{- end }}
  {{- if $values.sidecar.shadow }}
  - --shadow
  {{- end }}
  {{- if $values.sidecar.approvals }}
  - --approvals=/var/lib/interlock/approvals.db
  {{- end }}
  {{- if $gateway }}
  {{- if and $values.gateway.allowAnonymous (not $file) }}
  - --allow-anonymous
  {{- end }}
  {{- $name := include "interlock.fullname" .root }}
  {{- $space := .root.Release.Namespace }}
  {{- $served := list $name (printf "%s.%s" $name $space) (printf "%s.%s.svc" $name $space) }}
  {{- $served = append $served (printf "%s.%s.svc.cluster.local" $name $space) }}
  {{- range concat $served $values.gateway.hosts }}
  - {{ printf "--allow-host=%s" . | quote }}
  {{- end }}
  {{- end }}
  {{- range $values.sidecar.args }}
  - {{ . | quote }}
  {{- end }}
{{- if or (not $file) $values.sidecar.env }}
env:
  {{- if .upstream }}
  - name: INTERLOCK_UPSTREAM
    value: {{ .upstream | quote }}
  {{- else if not $file }}
  - name: INTERLOCK_UPSTREAM
    valueFrom:
      configMapKeyRef: {name: {{ include "interlock.configmap" .root | quote }}, key: upstream}
  {{- end }}
  {{- with $values.sidecar.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  {{- if $gateway }}
  - {name: mcp, containerPort: {{ int $values.sidecar.port }}}
  {{- end }}
  - {name: interlock-admin, containerPort: {{ int $values.sidecar.adminPort }}}
# Ready means that it serves and has a valid policy, never that a server is well: a server that is down would
# otherwise take the agent's pod out of its Service.
startupProbe:
  httpGet: {path: /readyz, port: interlock-admin}
  periodSeconds: 1
  failureThreshold: {{ int $values.sidecar.startSeconds }}
readinessProbe:
  httpGet: {path: /readyz, port: interlock-admin}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: interlock-admin}
  periodSeconds: 10
  failureThreshold: 6
resources:
  {{- toYaml (ternary $values.gateway.resources $values.sidecar.resources $gateway) | nindent 2 }}
securityContext:
  {{- include "interlock.container.security" $values.sidecar | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - {name: interlock-config, mountPath: /etc/interlock, readOnly: true}
  - {name: interlock-state, mountPath: /var/lib/interlock}
  # Something where a service account's token would be mounted keeps it from being mounted here.
  - {name: interlock-no-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
  {{- range $index, $secret := $values.secrets }}
  - {name: interlock-secret-{{ $index }}, mountPath: {{ $secret.mountPath | quote }}, readOnly: true}
  {{- end }}
  {{- with $values.sidecar.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What the container mounts. No other container may: the guard goes by the names. */}}
{{- define "interlock.volumes" -}}
{{- $values := .Values -}}
- name: interlock-config
  {{- if $values.config.existingSecret }}
  projected:
    sources:
      - configMap: {name: {{ include "interlock.configmap" . | quote }}}
      - secret: {name: {{ $values.config.existingSecret | quote }}}
  {{- else }}
  configMap: {name: {{ include "interlock.configmap" . | quote }}}
  {{- end }}
- name: interlock-state
  {{- if $values.state.existingClaim }}
  persistentVolumeClaim: {claimName: {{ $values.state.existingClaim | quote }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ $values.state.sizeLimit | quote }}}
  {{- end }}
- name: interlock-no-token
  emptyDir: {sizeLimit: 1Mi}
{{- range $index, $secret := $values.secrets }}
- name: interlock-secret-{{ $index }}
  secret: {secretName: {{ $secret.secret | quote }}}
{{- end }}
{{- with $values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Any pod spec with the sidecar in it, for charts that depend on this one:

    spec: {{- include "interlock.podSpec" (dict "root" .Subcharts.interlock "spec" $spec) | nindent 6 }}

Takes a dict: `root`, `spec` (a pod spec as an object; it is left as it is), and `upstream` as above.
*/}}
{{- define "interlock.podSpec" -}}
{{- $spec := deepCopy .spec -}}
{{- $context := dict "root" .root "as" "sidecar" "upstream" .upstream -}}
{{- $sidecar := include "interlock.container" $context | fromYaml -}}
{{- $volumes := include "interlock.volumes" .root | fromYamlArray -}}
{{- if .root.Values.sidecar.native -}}
{{- $_ := set $spec "initContainers" (prepend (default list $spec.initContainers) $sidecar) -}}
{{- else -}}
{{- $_ := set $spec "containers" (prepend (default list $spec.containers) $sidecar) -}}
{{- end -}}
{{- $_ := set $spec "volumes" (concat $volumes (default list $spec.volumes)) -}}
{{- toYaml $spec -}}
{{- end -}}
