{{/* The pod, of a Deployment or a StatefulSet. */}}

{{- define "cortex-xdr-exporter.args" -}}
{{- if include "cortex-xdr-exporter.demo" . -}}
- --demo
{{- else -}}
- --config.file=/etc/cortex-xdr-exporter/config/config.yaml
{{- end }}
- --web.listen-address=:10642
- --web.telemetry-path={{ .Values.web.telemetryPath }}
{{- if .Values.web.enableLifecycle }}
- --web.enable-lifecycle
{{- end }}
{{- if include "cortex-xdr-exporter.webSecret" . }}
- --web.config.file=/etc/cortex-xdr-exporter/web/{{ .Values.web.existingSecret.name | empty | ternary "web.yaml" .Values.web.existingSecret.key }}
{{- end }}
{{- if gt (int .Values.shards) 1 }}
- --shard.total={{ int .Values.shards }}
{{- end }}
- --log.level={{ .Values.logLevel }}
- --log.format={{ .Values.logFormat }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What a probe asks: as kubelet can, or by a program where kubelet could be refused: it has no certificate, knows no
     password, and takes a rate limit for an illness. Only whether the exporter is ready is told to nobody else. */}}
{{- define "cortex-xdr-exporter.probe" -}}
{{- $scheme := include "cortex-xdr-exporter.scheme" .root }}
{{- $web := .root.Values.web }}
{{- if or $web.existingSecret.name $web.basicAuthSecret $web.config.rate_limit (include "cortex-xdr-exporter.clientCertificates" .root) }}
exec:
  command:
    - python
    - -P
    - -m
    - exporter.probe
    {{- if and $web.basicAuthSecret (eq .path "/-/ready") }}
    - --credentials=/etc/cortex-xdr-exporter/credentials
    {{- end }}
    - {{ $scheme }}://127.0.0.1:10642{{ .path }}
{{- else }}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ upper $scheme }}
{{- end }}
{{ toYaml .fields }}
{{- end }}

{{- define "cortex-xdr-exporter.mounts" -}}
{{- if not (include "cortex-xdr-exporter.demo" .) }}
- name: config
  mountPath: /etc/cortex-xdr-exporter/config
  readOnly: true
{{- end }}
{{- if .Values.apiKeys }}
- name: keys
  mountPath: /etc/cortex-xdr-exporter/keys
  readOnly: true
{{- end }}
{{- if include "cortex-xdr-exporter.makesActions" . }}
- name: action-lists
  mountPath: /etc/cortex-xdr-exporter/action-lists
  readOnly: true
{{- end }}
{{- range (include "cortex-xdr-exporter.actionConfigMaps" . | fromJson).names }}
- name: actions-{{ sha256sum . | trunc 12 }}
  mountPath: {{ printf "/etc/cortex-xdr-exporter/action-configmaps/%s" . | quote }}
  readOnly: true
{{- end }}
{{- if include "cortex-xdr-exporter.webSecret" . }}
- name: web
  mountPath: /etc/cortex-xdr-exporter/web
  readOnly: true
{{- end }}
{{- if .Values.web.tlsSecret }}
- name: tls
  mountPath: /etc/cortex-xdr-exporter/tls
  readOnly: true
{{- end }}
{{- if .Values.web.basicAuthSecret }}
- name: credentials
  mountPath: /etc/cortex-xdr-exporter/credentials
  readOnly: true
{{- end }}
{{- if .Values.persistence.enabled }}
- name: state
  mountPath: /var/lib/cortex-xdr-exporter
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Folders, never subPath: only so are changes seen in a pod that runs. */}}
{{- define "cortex-xdr-exporter.volumes" -}}
{{- $fullname := include "cortex-xdr-exporter.fullname" . }}
{{- if not (include "cortex-xdr-exporter.demo" .) }}
- name: config
  configMap:
    name: {{ $fullname | quote }}
{{- end }}
{{- if .Values.apiKeys }}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $given := .Values.apiKeys }}
      {{- $slug := include "cortex-xdr-exporter.slug" $name }}
      - secret:
          name: {{ default (printf "%s-api-keys" $fullname) $given.existingSecret | quote }}
          items:
            - key: {{ $given.existingSecret | empty | ternary $slug (default "key" $given.key) | quote }}
              path: {{ $slug | quote }}
      {{- end }}
{{- end }}
{{- if include "cortex-xdr-exporter.makesActions" . }}
- name: action-lists
  configMap:
    name: {{ $fullname }}-actions
{{- end }}
{{- range (include "cortex-xdr-exporter.actionConfigMaps" . | fromJson).names }}
- name: actions-{{ sha256sum . | trunc 12 }}
  configMap:
    name: {{ . | quote }}
{{- end }}
{{- with include "cortex-xdr-exporter.webSecret" . }}
- name: web
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.web.tlsSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.web.basicAuthSecret }}
- name: credentials
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- if and .Values.persistence.enabled .Values.persistence.existingClaim }}
- name: state
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "cortex-xdr-exporter.spreads" -}}
{{- range .Values.topologySpreadConstraints }}
{{- $spread := deepCopy . }}
{{- if not (hasKey . "labelSelector") }}
{{- $_ := set $spread "labelSelector" (dict "matchLabels" (include "cortex-xdr-exporter.selectorLabels" $ | fromYaml)) }}
{{- end }}
{{ list $spread | toYaml }}
{{- end }}
{{- end }}

{{- define "cortex-xdr-exporter.pod" -}}
metadata:
  labels:
    {{- $labels := omit (include "cortex-xdr-exporter.labels" . | fromYaml) "app.kubernetes.io/managed-by" "helm.sh/chart" }}
    {{- merge $labels (default dict .Values.podLabels) | toYaml | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "cortex-xdr-exporter.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $field := list "priorityClassName" "nodeSelector" "affinity" "tolerations" "hostAliases" "dnsPolicy" "dnsConfig" }}
  {{- with index $.Values $field }}
  {{- dict $field . | toYaml | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with include "cortex-xdr-exporter.spreads" . }}
  topologySpreadConstraints:
    {{- . | trim | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "cortex-xdr-exporter.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- include "cortex-xdr-exporter.args" . | nindent 8 }}
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 10642
      {{- range $name, $path := dict "startupProbe" "/-/healthy" "livenessProbe" "/-/healthy" "readinessProbe" "/-/ready" }}
      {{- with index $.Values $name }}
      {{ $name }}:
        {{- include "cortex-xdr-exporter.probe" (dict "root" $ "path" $path "fields" .) | trim | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      {{- with include "cortex-xdr-exporter.mounts" . }}
      volumeMounts:
        {{- . | trim | nindent 8 }}
      {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "cortex-xdr-exporter.volumes" . }}
  volumes:
    {{- . | trim | nindent 4 }}
  {{- end }}
{{- end }}
