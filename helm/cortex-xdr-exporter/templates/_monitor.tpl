{{/* A ServiceMonitor or a PodMonitor; takes root, kind, values and the name of the field for endpoints. */}}
{{- define "cortex-xdr-exporter.monitor" -}}
{{- $web := .root.Values.web }}
{{- $namespace := .root.Release.Namespace }}
{{- $fullname := include "cortex-xdr-exporter.fullname" .root }}
{{- $endpoint := dict "port" "http" "path" $web.telemetryPath }}
{{- range $field := list "interval" "scrapeTimeout" "relabelings" "metricRelabelings" "tlsConfig" }}
{{- with index $.values $field }}
{{- $_ := set $endpoint $field . }}
{{- end }}
{{- end }}
{{- if include "cortex-xdr-exporter.tls" .root }}
{{- $_ := set $endpoint "scheme" "https" }}
{{- if not .values.tlsConfig }}
{{- $ca := dict "secret" (dict "name" $web.tlsSecret "key" "ca.crt") }}
{{- $_ := set $endpoint "tlsConfig" (dict "ca" $ca "serverName" (printf "%s.%s.svc" $fullname $namespace)) }}
{{- end }}
{{- end }}
{{- with $web.basicAuthSecret }}
{{- $_ := set $endpoint "basicAuth" (dict "username" (dict "name" . "key" "username") "password" (dict "name" . "key" "password")) }}
{{- end }}
{{- $labels := include "cortex-xdr-exporter.selectorLabels" .root | fromYaml }}
{{- $spec := dict
  "jobLabel" "app.kubernetes.io/name"
  "selector" (dict "matchLabels" $labels)
  .endpoints (list (mergeOverwrite $endpoint (deepCopy .values.endpoint))) }}
{{- if ne $namespace (default $namespace .values.namespace) }}
{{- $_ := set $spec "namespaceSelector" (dict "matchNames" (list $namespace)) }}
{{- end -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  {{- include "cortex-xdr-exporter.metadata" (dict "root" .root "name" $fullname "namespace" .values.namespace "labels" .values.labels "annotations" .values.annotations) | nindent 2 }}
spec:
  {{- mergeOverwrite $spec (deepCopy .values.spec) | toYaml | nindent 2 }}
{{- end }}
