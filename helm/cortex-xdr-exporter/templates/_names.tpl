{{/* Names and labels, by the ecosystem's customs. */}}

{{- define "cortex-xdr-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 52 characters, so that a suffix and a StatefulSet's hashes fit behind it. */}}
{{- define "cortex-xdr-exporter.fullname" -}}
{{- $name := include "cortex-xdr-exporter.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "cortex-xdr-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cortex-xdr-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "cortex-xdr-exporter.labels" -}}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $own := include "cortex-xdr-exporter.selectorLabels" . | fromYaml }}
{{- $own = merge $own (dict
  "app.kubernetes.io/version" (.Chart.AppVersion | toString)
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" $chart) }}
{{- merge $own (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{- define "cortex-xdr-exporter.serviceAccountName" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "cortex-xdr-exporter.fullname" .) "default" }}
{{- default $made .Values.serviceAccount.name }}
{{- end }}

{{/* metadata with what every object has; takes root, name, and where they differ namespace, labels and annotations. */}}
{{- define "cortex-xdr-exporter.metadata" -}}
name: {{ .name | quote }}
namespace: {{ default .root.Release.Namespace .namespace | quote }}
labels:
  {{- merge (include "cortex-xdr-exporter.labels" .root | fromYaml) (default dict .labels) | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "cortex-xdr-exporter.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* What of tenants goes into names of files: theirs, or a digest where that would not do. */}}
{{- define "cortex-xdr-exporter.slug" -}}
{{- regexMatch "^[A-Za-z0-9-]{1,63}$" . | ternary . (printf "tenant-%s" (sha256sum . | trunc 12)) }}
{{- end }}

{{/* Of the test's pod: a name of its own, so that no Service leads to it. */}}
{{- define "cortex-xdr-exporter.testLabels" -}}
app.kubernetes.io/name: {{ include "cortex-xdr-exporter.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
