{{- define "flotilla.egressDns" -}}
{{- $dns := .Values.networkPolicy.dns -}}
- ports: [{protocol: UDP, port: {{ $dns.port }}}, {protocol: TCP, port: {{ $dns.port }}}]
  {{- with $dns.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Rules that let out to the servers that are named, on the ports of their addresses. */}}
{{- define "flotilla.egressServers" -}}
{{- $root := .root -}}
{{- range $server := .servers -}}
{{- $peer := index $root.Values.networkPolicy $server -}}
{{- $ports := $peer.ports -}}
{{- if not $ports -}}
{{- if eq $server "redis" }}{{ $ports = include "flotilla.ports" $root.Values.config.redis.nodes | fromJsonArray }}
{{- else if eq $server "kafka" }}{{ $ports = include "flotilla.ports" (list $root.Values.config.kafka.bootstrap) | fromJsonArray }}
{{- else }}{{ $ports = concat (include "flotilla.ports" $root.Values.config.scylla.contact_points | fromJsonArray) (list 19042 19142) | uniq }}{{ end -}}
{{- end }}
# {{ $server }}
- ports:
    {{- range $ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with $peer.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Each series says which role it is of. */}}
{{- define "flotilla.relabelings" -}}
- {sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component], targetLabel: role}
{{- end -}}
