{{- define "sensor.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-sensor
{{- end }}

{{- define "sensor.account" -}}
{{ .Values.serviceAccount.name | default (include "sensor.name" .) }}
{{- end }}

{{- define "sensor.selector" -}}
app.kubernetes.io/name: sakuramori-sensor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sensor.labels" -}}
{{ include "sensor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: sensor
app.kubernetes.io/part-of: sakuramori
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sensor.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* sensor.toml: what the chart decides, then what the values say. */}}
{{- define "sensor.config" -}}
{{- $own := dict "brain" (dict "address" .Values.brain.address "state_dir" (printf "%s/sensor" .Values.stateDir)) }}
{{- if .Values.pin }}
{{- $_ := set $own "guard" (dict "pin" "/sys/fs/bpf/sakuramori") }}
{{- end }}
{{- if .Values.hostAccess.folders }}
{{- $_ := set $own "host" (dict "root" "/host") }}
{{- else }}
{{- $_ := set $own "logins" (dict "source" "off") }}
{{- $_ := set $own "inventory" (dict "enabled" false) }}
{{- end }}
{{- /* JSON's strings, numbers and lists are TOML's as well; toToml would make floats of whole numbers. */}}
{{- range $section, $keys := mergeOverwrite (deepCopy .Values.config) $own }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{ end }}
{{- end }}

{{- define "sensor.probe" -}}
exec:
  command: [/usr/bin/sakuramori-sensor, health, --max-age-s, {{ .Values.probes.maxAgeSeconds | quote }}]
timeoutSeconds: 5
{{- end }}
