{{/* What no single value can get wrong, all of it together. */}}
{{- define "flotilla.problems" -}}
{{- $wrong := list -}}
{{- $config := .Values.config -}}
{{- $names := include "flotilla.roles" . | fromJsonArray -}}
{{- if eq .Values.mode "cluster" -}}
{{- if not (dig "redis" "nodes" list $config) }}{{ $wrong = append $wrong "config.redis.nodes: expected where Redis is, such as [redis://redis.data:6379]" }}{{ end -}}
{{- if not (dig "kafka" "bootstrap" "" $config) }}{{ $wrong = append $wrong "config.kafka.bootstrap: expected where Kafka is, such as kafka.data:9092" }}{{ end -}}
{{- if not (dig "scylla" "contact_points" list $config) }}{{ $wrong = append $wrong "config.scylla.contact_points: expected where Scylla is, such as [scylla.data:9042]" }}{{ end -}}
{{- if not .Values.secrets.keys.existingSecret }}{{ $wrong = append $wrong "secrets.keys.existingSecret: expected a Secret with the output of flotilla secrets new-key --id 1" }}{{ end -}}
{{- if and (has "admin" $names) (not .Values.secrets.admin.existingSecret) }}{{ $wrong = append $wrong "secrets.admin.existingSecret: expected a Secret with the operators' token" }}{{ end -}}
{{- if and (hasPrefix "sasl-" (dig "kafka" "security" "" $config)) (not .Values.secrets.kafka.existingSecret) }}{{ $wrong = append $wrong "secrets.kafka.existingSecret: expected a Secret with the password, as config.kafka.security has a user" }}{{ end -}}
{{- if and (dig "scylla" "username" "" $config) (not .Values.secrets.scylla.existingSecret) }}{{ $wrong = append $wrong "secrets.scylla.existingSecret: expected a Secret with the password of config.scylla.username" }}{{ end -}}
{{- else if ne (int .Values.embedded.replicas) 1 -}}
{{- $wrong = append $wrong (printf "embedded.replicas: expected 1, as the store is one process's, got %d" (int .Values.embedded.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.mode "embedded") (not (include "flotilla.role" (dict "root" . "name" "embedded") | fromJson).enabled) -}}
{{- $wrong = append $wrong "embedded.enabled: expected true, as it is all that mode: embedded installs" -}}
{{- end -}}
{{- range $server := list "redis" "kafka" "scylla" -}}
{{- $tls := (index $.Values.secrets $server).tls -}}
{{- if ne (empty $tls.certificateKey) (empty $tls.privateKeyKey) }}{{ $wrong = append $wrong (printf "secrets.%s.tls: expected both certificateKey and privateKeyKey, or neither" $server) }}{{ end -}}
{{- end -}}
{{- range $kind := list "deviceTls" "adminTls" -}}
{{- $tls := index $.Values.secrets $kind -}}
{{- if and $tls.clients.existingSecret (not $tls.existingSecret) }}{{ $wrong = append $wrong (printf "secrets.%s.existingSecret: expected a Secret with the listener's certificate, as there are clients" $kind) }}{{ end -}}
{{- end -}}
{{- range $gateway := dig "notify" "gateways" list $config -}}
{{- if and $gateway.authorization_file (not $.Values.secrets.gateways.existingSecret) }}{{ $wrong = append $wrong (printf "secrets.gateways.existingSecret: expected a Secret, as the gateway of %s has an authorization_file" $gateway.scheme) }}{{ end -}}
{{- end -}}
{{- range $name := $names -}}
{{- $role := include "flotilla.role" (dict "root" $ "name" $name) | fromJson -}}
{{- $topics := include "flotilla.topics" (dict "root" $ "name" $name) | fromJsonArray -}}
{{- if and $role.autoscaling.enabled $role.keda.enabled }}{{ $wrong = append $wrong (printf "%s: expected autoscaling or keda, not both" $name) }}{{ end -}}
{{- if and (eq $name "embedded") (or $role.autoscaling.enabled $role.keda.enabled) }}{{ $wrong = append $wrong "embedded: expected no scaling, as the store is one process's" }}{{ end -}}
{{- if and $role.keda.enabled (not $topics) }}{{ $wrong = append $wrong (printf "%s.keda: expected a role that reads topics, campaign or notify" $name) }}{{ end -}}
{{- range $topic := $topics -}}
{{- $most := ternary $role.keda.maxReplicas (ternary $role.autoscaling.maxReplicas $role.replicas $role.autoscaling.enabled) $role.keda.enabled | int -}}
{{- if gt $most (int $topic.partitions) }}{{ $wrong = append $wrong (printf "%s: expected at most %d pods, the partitions of %s, got %d" $name (int $topic.partitions) $topic.topic $most) }}{{ end -}}
{{- end -}}
{{- range $kind := list "autoscaling" "keda" -}}
{{- $of := index $role $kind -}}
{{- if and $of.enabled (gt (int $of.minReplicas) (int $of.maxReplicas)) }}{{ $wrong = append $wrong (printf "%s.%s: expected minReplicas of at most maxReplicas" $name $kind) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}{{ $wrong = append $wrong "monitoring: expected serviceMonitor or podMonitor, as both would count everything twice" }}{{ end -}}
{{- range $kind := list "devices" "operators" -}}
{{- $route := (index $.Values $kind).httpRoute -}}
{{- if and $route.enabled (not $route.parentRefs) }}{{ $wrong = append $wrong (printf "%s.httpRoute.parentRefs: expected a Gateway" $kind) }}{{ end -}}
{{- end -}}
{{- if $wrong }}{{ fail (printf "the values cannot be used\n%s\n" (join "\n" $wrong)) }}{{ end -}}
{{- end -}}
