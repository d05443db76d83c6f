{{/* Combinations of values that cannot work are refused, all at once, each with its place and what would be right. */}}
{{- define "cortex-xdr-exporter.guards" -}}
{{- $problems := concat
  (include "cortex-xdr-exporter.guards.configuration" . | fromJsonArray)
  (include "cortex-xdr-exporter.guards.keys" . | fromJsonArray)
  (include "cortex-xdr-exporter.guards.workload" . | fromJsonArray)
  (include "cortex-xdr-exporter.guards.web" . | fromJsonArray)
  (include "cortex-xdr-exporter.guards.monitors" . | fromJsonArray) }}
{{- with $problems }}
{{- fail (printf "\n\n%s\n" (join "\n" .)) }}
{{- end }}
{{- end }}

{{- define "cortex-xdr-exporter.guards.configuration" -}}
{{- $problems := list }}
{{- $config := .Values.config }}
{{- $tenants := (include "cortex-xdr-exporter.tenants" . | fromJson).tenants }}
{{- $names := list }}
{{- range $tenants }}{{ $names = append $names .name }}{{ end }}
{{- if include "cortex-xdr-exporter.demo" . }}
{{- range $key, $set := dict "apiKeys" .Values.apiKeys "actionLists" .Values.actionLists "persistence.enabled" .Values.persistence.enabled "shards" (gt (int .Values.shards) 1) }}
{{- if $set }}
{{- $problems = append $problems (printf "%s: needs config.api or config.tenants: without, the exporter runs against a simulated tenant" $key) }}
{{- end }}
{{- end }}
{{- if and .Release.IsUpgrade (not .Values.demo) }}
{{- $problems = append $problems "config: is empty: pass the values of the release again, or set demo to upgrade it to a simulated tenant" }}
{{- end }}
{{- else if .Values.demo }}
{{- $problems = append $problems "demo: does not go with config: the exporter polls either" }}
{{- else if and $config.api $config.tenants }}
{{- $problems = append $problems "config.tenants: does not go with config.api: make that one of the tenants" }}
{{- else if not $tenants }}
{{- $problems = append $problems "config.api: is missing (or config.tenants, a list of several)" }}
{{- end }}
{{- if $tenants }}
{{- range $key, $values := dict "apiKeys" .Values.apiKeys "actionLists" .Values.actionLists }}
{{- range $name, $_ := $values }}
{{- if not (has $name $names) }}
{{- $problems = append $problems (printf "%s.%s: is no tenant of config: there is %s" $key $name (join ", " $names)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $tenants }}
{{- $problems = concat $problems (include "cortex-xdr-exporter.guards.numbers" (dict "key" (printf "%s.actions" .key) "entries" .actions) | fromJsonArray) }}
{{- end }}
{{- range $name, $given := .Values.actionLists }}
{{- range $list, $entries := $given.lists }}
{{- $problems = concat $problems (include "cortex-xdr-exporter.guards.numbers" (dict "key" (printf "actionLists.%s.lists.%s" $name $list) "entries" $entries) | fromJsonArray) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{/* Helm reads numbers as floats, which hold integers up to 2^53: a larger one would become another. */}}
{{- define "cortex-xdr-exporter.guards.numbers" -}}
{{- $problems := list }}
{{- range $index, $entry := .entries }}
{{- $action := kindIs "map" $entry | ternary $entry (dict "id" $entry) }}
{{- range $name, $value := merge (dict "ID" $action.id) (default dict $action.labels) }}
{{- if and (not (kindIs "string" $value)) (gt (float64 $value) 9007199254740991.0) }}
{{- $problems = append $problems (printf "%s[%d]: the %s is too large a number for Helm: put it in quotes" $.key $index $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "cortex-xdr-exporter.guards.keys" -}}
{{- $problems := list }}
{{- range (include "cortex-xdr-exporter.tenants" . | fromJson).tenants }}
{{- $key := .key }}
{{- $name := .name }}
{{- $api := .api }}
{{- $sources := list }}
{{- if hasKey $.Values.apiKeys .name }}{{ $sources = append $sources (printf "apiKeys.%s" .name) }}{{ end }}
{{- range list "key_file" "key_env" }}
{{- if hasKey $api . }}{{ $sources = append $sources (printf "%s.api.%s" $key .) }}{{ end }}
{{- end }}
{{- if hasKey $api "key" }}
{{- $problems = append $problems (printf "%s.api.key: everybody who may read ConfigMaps could read it: use apiKeys.%s" $key $name) }}
{{- else if not $sources }}
{{- $problems = append $problems (printf "apiKeys.%s: is missing: no key for %s.api" $name $key) }}
{{- else if gt (len $sources) 1 }}
{{- $problems = append $problems (printf "%s: give one of them" (join " and " $sources)) }}
{{- end }}
{{- if contains "@" $api.url }}
{{- $problems = append $problems (printf "%s.api.url: everybody who may read ConfigMaps could read its credentials: it has none" $key) }}
{{- end }}
{{- if contains "@" (default "" $api.proxy_url) }}
{{- $problems = append $problems (printf "%s.api.proxy_url: everybody who may read ConfigMaps could read its password: set HTTPS_PROXY from a Secret in extraEnv, and let networkPolicy.extraEgress lead there" $key) }}
{{- end }}
{{- end }}
{{- range $name, $given := .Values.apiKeys }}
{{- if eq (empty $given.existingSecret) (empty $given.value) }}
{{- $problems = append $problems (printf "apiKeys.%s: give either existingSecret or value" $name) }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "cortex-xdr-exporter.guards.workload" -}}
{{- $problems := list }}
{{- $values := .Values }}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.extraEgress) }}
{{- range $values.extraEnv }}
{{- if regexMatch "(?i)^(https|all)_proxy$" (default "" .name) }}
{{- $problems = append $problems (printf "extraEnv: %s names a proxy, to which networkPolicy leaves no way: add it to networkPolicy.extraEgress" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.persistence.existingClaim (not $values.persistence.enabled) }}
{{- $problems = append $problems "persistence.existingClaim: is without effect: set persistence.enabled" }}
{{- end }}
{{- $path := default "" (default dict $values.config.state).path }}
{{- if and $path $values.persistence.enabled }}
{{- $problems = append $problems "config.state.path: is set by the chart where persistence.enabled is true" }}
{{- else if $path }}
{{- $mounted := false }}
{{- range $values.extraVolumeMounts }}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $path }}{{ $mounted = true }}{{ end }}
{{- end }}
{{- if not $mounted }}
{{- $problems = append $problems "config.state.path: cannot be written in a read-only root file system: set persistence.enabled, or mount a volume there with extraVolumeMounts" }}
{{- end }}
{{- end }}
{{- if gt (int $values.shards) 1 }}
{{- if $values.config.api }}
{{- $problems = append $problems "shards: more than one share tenants: there is one, in config.api" }}
{{- end }}
{{- if $values.persistence.existingClaim }}
{{- $problems = append $problems "persistence.existingClaim: each shard needs a claim of its own: leave it out, or have one shard" }}
{{- end }}
{{- if $values.ingress.enabled }}
{{- $problems = append $problems "ingress.enabled: leads to one shard of several, which has its own tenants only" }}
{{- end }}
{{- end }}
{{- range $values.extraArgs }}
{{- $flag := regexFind "^--(config[.](file|check)|web[.](listen-address|config[.]file|telemetry-path|enable-lifecycle)|shard[.](total|index)|log[.](level|format)|once|demo|version|help)(=|$)" . | trimSuffix "=" }}
{{- if $flag }}
{{- $problems = append $problems (printf "extraArgs: %s is for the chart to set, or keeps the exporter from running" $flag) }}
{{- end }}
{{- end }}
{{- with $values.podDisruptionBudget }}
{{- if and .enabled (eq (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) }}
{{- $problems = append $problems "podDisruptionBudget: give either minAvailable or maxUnavailable, and null for the other" }}
{{- end }}
{{- end }}
{{- if $values.ingress.enabled }}
{{- if not $values.ingress.hosts }}
{{- $problems = append $problems "ingress.hosts: is empty" }}
{{- end }}
{{- if and $values.networkPolicy.enabled $values.networkPolicy.ingress.from (not $values.networkPolicy.extraIngress) }}
{{- $problems = append $problems "ingress.enabled: networkPolicy lets nobody in but who scrapes: add the ingress controller to networkPolicy.extraIngress" }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "cortex-xdr-exporter.guards.web" -}}
{{- $problems := list }}
{{- $web := .Values.web }}
{{- if and $web.config $web.existingSecret.name }}
{{- $problems = append $problems "web.config: does not go with web.existingSecret: give one of them" }}
{{- end }}
{{- with $web.config.tls_server_config }}
{{- if not (or .cert_file .cert $web.tlsSecret) }}
{{- $problems = append $problems "web.tlsSecret: is missing: there is no certificate (or web.config.tls_server_config.cert_file)" }}
{{- end }}
{{- end }}
{{- if and $web.config.basic_auth_users (not $web.basicAuthSecret) }}
{{- $problems = append $problems "web.basicAuthSecret: is missing: probes and monitors are asked for a password, too" }}
{{- end }}
{{- if and $web.basicAuthSecret (not $web.existingSecret.name) (not $web.config.basic_auth_users) }}
{{- $problems = append $problems "web.basicAuthSecret: nobody is asked for a password: set web.config.basic_auth_users" }}
{{- end }}
{{- $problems | toJson }}
{{- end }}

{{- define "cortex-xdr-exporter.guards.monitors" -}}
{{- $problems := list }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- $problems = append $problems "podMonitor.enabled: does not go with serviceMonitor.enabled: everything would be scraped twice" }}
{{- end }}
{{- range $key, $monitor := dict "serviceMonitor" .Values.serviceMonitor "podMonitor" .Values.podMonitor }}
{{- if $monitor.enabled }}
{{- if include "cortex-xdr-exporter.tls" $ }}
{{- if and (not $monitor.tlsConfig) (not $.Values.web.tlsSecret) }}
{{- $problems = append $problems (printf "%s.tlsConfig: is missing: by which authority, and under which name, is the exporter to be trusted?" $key) }}
{{- end }}
{{- if and (include "cortex-xdr-exporter.clientCertificates" $) (not (or $monitor.tlsConfig.cert $monitor.tlsConfig.certFile)) }}
{{- $problems = append $problems (printf "%s.tlsConfig.cert: is missing: the exporter requires a client certificate" $key) }}
{{- end }}
{{- end }}
{{- if and $monitor.namespace (ne $monitor.namespace $.Release.Namespace) }}
{{- if and $.Values.web.basicAuthSecret (not $monitor.endpoint.basicAuth) }}
{{- $problems = append $problems (printf "%s.endpoint.basicAuth: is missing: web.basicAuthSecret is in another namespace" $key) }}
{{- end }}
{{- if and (include "cortex-xdr-exporter.tls" $) (not $monitor.tlsConfig) $.Values.web.tlsSecret }}
{{- $problems = append $problems (printf "%s.tlsConfig: is missing: web.tlsSecret is in another namespace" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $problems | toJson }}
{{- end }}
