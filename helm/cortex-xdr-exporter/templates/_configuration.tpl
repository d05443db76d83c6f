{{/* What the values say of the exporter: a condition is "true" or nothing. */}}

{{- define "cortex-xdr-exporter.demo" -}}
{{- if not .Values.config }}true{{ end }}
{{- end }}

{{- define "cortex-xdr-exporter.stateful" -}}
{{- if or .Values.persistence.enabled (gt (int .Values.shards) 1) }}true{{ end }}
{{- end }}

{{/* The tenants, as {"tenants": [{name, key (in the values), api, actions}]}. */}}
{{- define "cortex-xdr-exporter.tenants" -}}
{{- $tenants := list }}
{{- range $index, $tenant := .Values.config.tenants }}
{{- $tenants = append $tenants (dict "name" $tenant.name "key" (printf "config.tenants[%d]" $index) "api" $tenant.api "actions" $tenant.actions) }}
{{- end }}
{{- with .Values.config.api }}
{{- $tenants = append $tenants (dict "name" "default" "key" "config" "api" . "actions" $.Values.config.actions) }}
{{- end }}
{{- dict "tenants" $tenants | toJson }}
{{- end }}

{{/* Write into a tenant (or the configuration that is one) where its key and its lists of actions are mounted. */}}
{{- define "cortex-xdr-exporter.mounted" -}}
{{- $slug := include "cortex-xdr-exporter.slug" .name }}
{{- if hasKey .root.Values.apiKeys .name }}
{{- $_ := set .tenant.api "key_file" (printf "/etc/cortex-xdr-exporter/keys/%s" $slug) }}
{{- end }}
{{- $files := default list .tenant.action_files }}
{{- with index .root.Values.actionLists .name }}
{{- if .lists }}
{{- $files = append $files (printf "/etc/cortex-xdr-exporter/action-lists/%s.*.yaml" $slug) }}
{{- end }}
{{- range .configMaps }}
{{- $folder := printf "/etc/cortex-xdr-exporter/action-configmaps/%s" . }}
{{- range list "yaml" "yml" "json" }}
{{- $files = append $files (printf "%s/*.%s" $folder .) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $files }}
{{- $_ := set $.tenant "action_files" . }}
{{- end }}
{{- end }}

{{/* The configuration file. */}}
{{- define "cortex-xdr-exporter.configuration" -}}
{{- $config := deepCopy .Values.config }}
{{- range $config.tenants }}
{{- include "cortex-xdr-exporter.mounted" (dict "root" $ "name" .name "tenant" .) }}
{{- end }}
{{- if $config.api }}
{{- include "cortex-xdr-exporter.mounted" (dict "root" . "name" "default" "tenant" $config) }}
{{- end }}
{{- if .Values.persistence.enabled }}
{{- $_ := set $config "state" (dict "path" "/var/lib/cortex-xdr-exporter/state.db") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Names of all existing ConfigMaps with lists of actions, as {"names": [...]}. */}}
{{- define "cortex-xdr-exporter.actionConfigMaps" -}}
{{- $names := list }}
{{- range .Values.actionLists }}
{{- $names = concat $names (default list .configMaps) }}
{{- end }}
{{- dict "names" ($names | uniq | sortAlpha) | toJson }}
{{- end }}

{{/* "true" where the chart makes that object: the ConfigMap of action lists, the Secret of keys. */}}
{{- define "cortex-xdr-exporter.makesActions" -}}
{{- range .Values.actionLists }}{{ if .lists }}true{{ break }}{{ end }}{{ end }}
{{- end }}

{{- define "cortex-xdr-exporter.makesKeys" -}}
{{- range .Values.apiKeys }}{{ if .value }}true{{ break }}{{ end }}{{ end }}
{{- end }}

{{/* The web configuration file; nothing where the chart makes none. */}}
{{- define "cortex-xdr-exporter.webConfiguration" -}}
{{- $config := deepCopy .Values.web.config }}
{{- if and .Values.web.tlsSecret (not .Values.web.existingSecret.name) }}
{{- $tls := default dict $config.tls_server_config }}
{{- if not (or $tls.cert_file $tls.cert) }}
{{- $_ := set $tls "cert_file" "/etc/cortex-xdr-exporter/tls/tls.crt" }}
{{- $_ := set $tls "key_file" "/etc/cortex-xdr-exporter/tls/tls.key" }}
{{- end }}
{{- $_ := set $config "tls_server_config" $tls }}
{{- end }}
{{- with $config }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "cortex-xdr-exporter.webSecret" -}}
{{- if .Values.web.existingSecret.name }}{{ .Values.web.existingSecret.name }}
{{- else if include "cortex-xdr-exporter.webConfiguration" . }}{{ include "cortex-xdr-exporter.fullname" . }}-web
{{- end }}
{{- end }}

{{- define "cortex-xdr-exporter.tls" -}}
{{- $config := include "cortex-xdr-exporter.webConfiguration" . | fromYaml }}
{{- if .Values.web.existingSecret.name | empty | ternary $config.tls_server_config .Values.web.existingSecret.tls }}true{{ end }}
{{- end }}

{{- define "cortex-xdr-exporter.scheme" -}}
{{- include "cortex-xdr-exporter.tls" . | empty | ternary "http" "https" }}
{{- end }}

{{- define "cortex-xdr-exporter.clientCertificates" -}}
{{- $tls := default dict .Values.web.config.tls_server_config }}
{{- if .Values.web.existingSecret.name }}
{{- if .Values.web.existingSecret.clientCertificates }}true{{ end }}
{{- else if eq "RequireAndVerifyClientCert" (default "" $tls.client_auth_type) }}true
{{- end }}
{{- end }}
