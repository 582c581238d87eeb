{{- define "flotilla.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, with the chart's where it does not say it. Short enough for what is put behind it. */}}
{{- define "flotilla.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "flotilla.selector" -}}
app.kubernetes.io/name: {{ include "flotilla.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of all objects. */}}
{{- define "flotilla.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "flotilla.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flotilla
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of pods: the chart's version alone is no reason for a rollout. */}}
{{- define "flotilla.podLabels" -}}
{{ include "flotilla.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flotilla
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "flotilla.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "flotilla.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "flotilla.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end -}}
{{- end -}}

{{/* The names of what is installed, as a list in JSON. */}}
{{- define "flotilla.roles" -}}
{{- $roles := list -}}
{{- if eq .Values.mode "embedded" -}}
{{- $roles = list "embedded" -}}
{{- else -}}
{{- range list "session" "campaign" "snapshot" "notify" "admin" -}}
{{- if (include "flotilla.role" (dict "root" $ "name" .) | fromJson).enabled -}}
{{- $roles = append $roles . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $roles -}}
{{- end -}}

{{/* What a role has, as JSON: its own section over the defaults. */}}
{{- define "flotilla.role" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values .name)) | toJson -}}
{{- end -}}

{{/* Which role has a listener: session and admin, or the one that has all. */}}
{{- define "flotilla.deviceRole" -}}
{{- if eq .Values.mode "embedded" }}embedded{{ else }}session{{ end -}}
{{- end -}}
{{- define "flotilla.operatorRole" -}}
{{- if eq .Values.mode "embedded" }}embedded{{ else }}admin{{ end -}}
{{- end -}}
