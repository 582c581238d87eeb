{{/* Files of Secrets, of those kinds that are named and that there are. */}}
{{- define "flotilla.secretSources" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $sources := list -}}
{{- range $kind := .kinds -}}
{{- $of := index $secrets $kind | default dict -}}
{{- if eq $kind "keys" -}}
{{- if $of.existingSecret }}{{ $sources = append $sources (dict "name" $of.existingSecret "items" (list (dict "key" $of.key "path" "keys/keys"))) }}{{ end -}}
{{- else if eq $kind "admin" -}}
{{- if $of.existingSecret }}{{ $sources = append $sources (dict "name" $of.existingSecret "items" (list (dict "key" $of.key "path" "admin/admin.token"))) }}{{ end -}}
{{- else if eq $kind "adminCa" -}}
{{- $of = $secrets.adminTls -}}
{{- if and $of.existingSecret $of.caKey }}{{ $sources = append $sources (dict "name" $of.existingSecret "items" (list (dict "key" $of.caKey "path" "admin-tls/ca.crt"))) }}{{ end -}}
{{- else if has $kind (list "deviceTls" "adminTls") -}}
{{- $folder := ternary "device-tls" "admin-tls" (eq $kind "deviceTls") -}}
{{- if $of.existingSecret }}{{ $sources = append $sources (dict "name" $of.existingSecret "items" (list (dict "key" $of.certificateKey "path" (printf "%s/tls.crt" $folder)) (dict "key" $of.privateKeyKey "path" (printf "%s/tls.key" $folder)))) }}{{ end -}}
{{- if $of.clients.existingSecret -}}
{{- $items := list (dict "key" $of.clients.caKey "path" (printf "%s/clients.crt" $folder)) -}}
{{- if $of.clients.crlKey }}{{ $items = append $items (dict "key" $of.clients.crlKey "path" (printf "%s/clients.crl" $folder)) }}{{ end -}}
{{- $sources = append $sources (dict "name" $of.clients.existingSecret "items" $items) -}}
{{- end -}}
{{- else -}}
{{- if $of.existingSecret }}{{ $sources = append $sources (dict "name" $of.existingSecret "items" (list (dict "key" $of.passwordKey "path" (printf "%s/password" $kind)))) }}{{ end -}}
{{- if $of.tls.existingSecret -}}
{{- $items := list -}}
{{- if $of.tls.caKey }}{{ $items = append $items (dict "key" $of.tls.caKey "path" (printf "%s/ca.crt" $kind)) }}{{ end -}}
{{- if $of.tls.certificateKey -}}
{{- $items = append $items (dict "key" $of.tls.certificateKey "path" (printf "%s/tls.crt" $kind)) -}}
{{- $items = append $items (dict "key" $of.tls.privateKeyKey "path" (printf "%s/tls.key" $kind)) -}}
{{- end -}}
{{- if $items }}{{ $sources = append $sources (dict "name" $of.tls.existingSecret "items" $items) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $source := $sources }}
- secret:
    name: {{ $source.name }}
    items:
      {{- range $source.items }}
      - {key: {{ .key | quote }}, path: {{ .path }}}
      {{- end }}
{{- end }}
{{- end -}}

{{/* Which kinds of secrets a role reads. */}}
{{- define "flotilla.secretKinds" -}}
{{- $kinds := list -}}
{{- if eq .root.Values.mode "cluster" }}{{ $kinds = list "redis" "kafka" "scylla" }}{{ end -}}
{{- if eq .name "snapshot" }}{{ $kinds = list "scylla" }}{{ end -}}
{{- if not (has .name (list "migrate" "snapshot")) }}{{ $kinds = append $kinds "keys" }}{{ end -}}
{{- if has .name (list "session" "embedded") }}{{ $kinds = append $kinds "deviceTls" }}{{ end -}}
{{- if has .name (list "admin" "embedded") }}{{ $kinds = concat $kinds (list "admin" "adminTls") }}{{ end -}}
{{- toJson $kinds -}}
{{- end -}}

{{/* The volumes of settings and secrets: `config` names the ConfigMap, `kinds` the secrets. */}}
{{- define "flotilla.volumes" -}}
- name: settings
  configMap:
    name: {{ .config }}
{{- $sources := include "flotilla.secretSources" . | trim }}
{{- if $sources }}
- name: secrets
  projected:
    defaultMode: 288
    sources: {{- $sources | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "flotilla.volumeMounts" -}}
- {name: settings, mountPath: /etc/flotilla/config, readOnly: true}
{{- if include "flotilla.secretSources" . | trim }}
- {name: secrets, mountPath: /etc/flotilla/secrets, readOnly: true}
{{- end }}
{{- end -}}

{{/* What every pod of the chart has. */}}
{{- define "flotilla.podBasics" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "flotilla.containerBasics" -}}
image: {{ include "flotilla.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{- define "flotilla.probe" -}}
httpGet: {path: {{ .path }}, port: health}
{{ toYaml (omit . "path") }}
{{- end -}}

{{/* Where pods of a role go. */}}
{{- define "flotilla.placement" -}}
{{- $role := .role -}}
{{- $labels := dict "matchLabels" (dict "app.kubernetes.io/name" (include "flotilla.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" .name) -}}
{{- with $role.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := deepCopy $role.affinity }}
{{- if and (ne .name "embedded") (ne $role.antiAffinity "off") (not (hasKey $affinity "podAntiAffinity")) }}
{{- $term := dict "labelSelector" $labels "topologyKey" "kubernetes.io/hostname" }}
{{- if eq $role.antiAffinity "hard" }}
{{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) }}
{{- else }}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) }}
{{- end }}
{{- end }}
{{- with $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $spread := list }}
{{- if ne .name "embedded" }}
{{- range $kind, $key := dict "zone" "topology.kubernetes.io/zone" "host" "kubernetes.io/hostname" }}
{{- $when := index $role.topologySpread $kind }}
{{- if $when }}
{{- /* A rollout is spread by itself, not together with the pods that it replaces. */ -}}
{{- $spread = append $spread (dict "maxSkew" 1 "topologyKey" $key "whenUnsatisfiable" $when "labelSelector" $labels "matchLabelKeys" (list "pod-template-hash")) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $spread }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $role.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The pod of a role: `root`, `name`, `role`. */}}
{{- define "flotilla.pod" -}}
{{- $root := .root -}}{{- $name := .name -}}{{- $role := .role -}}
{{- $kinds := include "flotilla.secretKinds" . | fromJsonArray -}}
{{- $volumes := dict "root" $root "config" (include "flotilla.fullname" $root) "kinds" $kinds -}}
{{- $gateways := and (has $name (list "notify" "embedded")) $root.Values.secrets.gateways.existingSecret -}}
metadata:
  labels: {{- include "flotilla.podLabels" $root | trim | nindent 4 }}
    app.kubernetes.io/component: {{ $name }}
    # Not a hook's: it listens, and it speaks to the servers.
    flotilla/serves: "true"
    {{- with $role.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Settings are read at the start, so a change of them is a rollout.
    checksum/settings: {{ include "flotilla.settings" $root | sha256sum }}
    kubectl.kubernetes.io/default-container: flotilla
    {{- with $role.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "flotilla.podBasics" (dict "root" $root "account" (include "flotilla.serviceAccountName" $root)) | nindent 2 }}
  {{- with include "flotilla.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add $role.drain.preStopSeconds $role.drain.deadlineSeconds $role.drain.marginSeconds }}
  containers:
    - name: flotilla
      {{- include "flotilla.containerBasics" $root | nindent 6 }}
      args:
        - serve
        - --config
        - /etc/flotilla/config/flotilla.toml
        {{- if ne $name "embedded" }}
        - --roles
        - {{ $name }}
        {{- end }}
      env:
        # For commands by `kubectl exec`, such as `flotilla doctor`: the settings of this process, and not those in the image.
        - name: FLOTILLA_CONFIG
          value: /etc/flotilla/config/flotilla.toml
        - name: FLOTILLA__SHUTDOWN__DEADLINE
          value: {{ printf "%ds" (int $role.drain.deadlineSeconds) }}
        {{- /* KEDA takes the user's name from here. */ -}}
        {{- if and (ne $name "embedded") (dig "kafka" "sasl_user" "" $root.Values.config) }}
        - name: FLOTILLA__KAFKA__SASL_USER
          value: {{ $root.Values.config.kafka.sasl_user | quote }}
        {{- end }}
        {{- with $role.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $role.envFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: health, containerPort: {{ $root.Values.health.containerPort }}, protocol: TCP}
        {{- if eq $name (include "flotilla.deviceRole" $root) }}
        - {name: devices, containerPort: {{ $root.Values.devices.containerPort }}, protocol: TCP}
        {{- end }}
        {{- if eq $name (include "flotilla.operatorRole" $root) }}
        - {name: operators, containerPort: {{ $root.Values.operators.containerPort }}, protocol: TCP}
        {{- end }}
      startupProbe: {{- include "flotilla.probe" $role.startupProbe | nindent 8 }}
      livenessProbe: {{- include "flotilla.probe" $role.livenessProbe | nindent 8 }}
      readinessProbe: {{- include "flotilla.probe" $role.readinessProbe | nindent 8 }}
      {{- if gt (int $role.drain.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ $role.drain.preStopSeconds }}}
      {{- end }}
      resources: {{- toYaml $role.resources | nindent 8 }}
      volumeMounts:
        {{- include "flotilla.volumeMounts" $volumes | nindent 8 }}
        {{- if $gateways }}
        - {name: gateways, mountPath: /etc/flotilla/gateways, readOnly: true}
        {{- end }}
        - {name: data, mountPath: /var/lib/flotilla}
        - {name: tmp, mountPath: /tmp}
        {{- with $role.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "flotilla.volumes" $volumes | nindent 4 }}
    {{- if $gateways }}
    - name: gateways
      secret: {secretName: {{ $root.Values.secrets.gateways.existingSecret }}, defaultMode: 288}
    {{- end }}
    {{- if ne $name "embedded" }}
    - {name: data, emptyDir: {sizeLimit: 64Mi}}
    {{- end }}
    - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
    {{- with $role.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
