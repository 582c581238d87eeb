{{/* A value as TOML. Numbers of values files come as floating point, and the program has none of these. */}}
{{- define "flotilla.toml" -}}
{{- if kindIs "string" . -}}
{{ toRawJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if kindIs "slice" . -}}
[{{ range $at, $value := . }}{{ if $at }}, {{ end }}{{ include "flotilla.toml" $value }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- range $at, $key := keys . | sortAlpha }}{{ if $at }},{{ end }} {{ $key }} = {{ include "flotilla.toml" (index $ $key) }}{{ end }} }
{{- else -}}
{{ int64 . }}
{{- end -}}
{{- end -}}

{{/* The settings file: what the values say, and what follows from other values. */}}
{{- define "flotilla.settings" -}}
{{- $secrets := "/etc/flotilla/secrets" -}}
{{- $all := deepCopy .Values.config -}}
{{- range list "session" "admin" "health" "storage" "secrets" "redis" "kafka" "scylla" -}}
{{- if not (hasKey $all .) }}{{ $_ := set $all . dict }}{{ end -}}
{{- end -}}
{{- $_ := set $all.session "listen" (printf "%s:%d" .Values.listenAddress (int .Values.devices.containerPort)) -}}
{{- $_ := set $all.admin "listen" (printf "%s:%d" .Values.listenAddress (int .Values.operators.containerPort)) -}}
{{- $_ := set $all.health "listen" (printf "%s:%d" .Values.listenAddress (int .Values.health.containerPort)) -}}
{{- $_ := set $all.storage "backend" .Values.mode -}}
{{- $_ := set $all.storage "data" "/var/lib/flotilla" -}}
{{- if .Values.secrets.admin.existingSecret -}}
{{- $_ := set $all.admin "token_file" (printf "%s/admin/admin.token" $secrets) -}}
{{- end -}}
{{- if .Values.secrets.keys.existingSecret -}}
{{- $_ := set $all.secrets "key_file" (printf "%s/keys/keys" $secrets) -}}
{{- end -}}
{{- range $kind, $section := dict "deviceTls" "session.tls" "adminTls" "admin.tls" -}}
{{- $of := index $.Values.secrets $kind -}}
{{- $folder := printf "%s/%s" $secrets (ternary "device-tls" "admin-tls" (eq $kind "deviceTls")) -}}
{{- if $of.existingSecret -}}
{{- $tls := index $all $section | default dict -}}
{{- $_ := set $tls "certificate" (printf "%s/tls.crt" $folder) -}}
{{- $_ := set $tls "key" (printf "%s/tls.key" $folder) -}}
{{- if $of.clients.existingSecret -}}
{{- $_ := set $tls "client_auth" (default "required" $tls.client_auth) -}}
{{- $_ := set $tls "client_ca" (printf "%s/clients.crt" $folder) -}}
{{- if $of.clients.crlKey }}{{ $_ := set $tls "client_crl" (printf "%s/clients.crl" $folder) }}{{ end -}}
{{- end -}}
{{- $_ := set $all $section $tls -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "cluster" -}}
{{- range $server, $passwordKey := dict "redis" "password_file" "kafka" "sasl_password_file" "scylla" "password_file" -}}
{{- $of := index $.Values.secrets $server -}}
{{- $section := index $all $server -}}
{{- if $of.existingSecret }}{{ $_ := set $section $passwordKey (printf "%s/%s/password" $secrets $server) }}{{ end -}}
{{- if $of.tls.existingSecret -}}
{{- if $of.tls.caKey }}{{ $_ := set $section "ca" (printf "%s/%s/ca.crt" $secrets $server) }}{{ end -}}
{{- if $of.tls.certificateKey -}}
{{- $_ := set $section "certificate" (printf "%s/%s/tls.crt" $secrets $server) -}}
{{- $_ := set $section "key" (printf "%s/%s/tls.key" $secrets $server) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range list "redis" "kafka" "scylla" }}{{ $_ := unset $all . }}{{ end -}}
{{- end -}}
# Written by the chart. `flotilla config example` explains every key.
{{- range $name := keys $all | sortAlpha }}
{{- $section := index $all $name }}
{{- if $section }}

[{{ $name }}]
{{- range $key := keys $section | sortAlpha }}
{{- $value := index $section $key }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "flotilla.toml" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{/* The ports of addresses, each once, as JSON: `host:port`, with or without scheme, in a list or between commas. */}}
{{- define "flotilla.ports" -}}
{{- $ports := list -}}
{{- range . -}}
{{- range splitList "," . -}}
{{- $port := regexFind ":[0-9]+$" (trim .) | trimPrefix ":" -}}
{{- if $port }}{{ $ports = append $ports (int $port) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* The topics that a role reads: name, group and partitions of each, as a list in JSON. */}}
{{- define "flotilla.topics" -}}
{{- $kafka := .root.Values.config.kafka -}}
{{- $prefix := default "" $kafka.prefix -}}
{{- $topics := list -}}
{{- if eq .name "campaign" -}}
{{- $topics = append $topics (dict "topic" (printf "%sdm.jobs" $prefix) "group" (printf "%sflotilla-jobs" $prefix) "partitions" $kafka.jobs_partitions) -}}
{{- $topics = append $topics (dict "topic" (printf "%sdm.events" $prefix) "group" (printf "%sflotilla-events" $prefix) "partitions" $kafka.events_partitions) -}}
{{- else if eq .name "notify" -}}
{{- $topics = append $topics (dict "topic" (printf "%sdm.triggers" $prefix) "group" (printf "%sflotilla-triggers" $prefix) "partitions" $kafka.triggers_partitions) -}}
{{- end -}}
{{- toJson $topics -}}
{{- end -}}
