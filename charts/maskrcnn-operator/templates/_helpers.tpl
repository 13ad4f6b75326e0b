{{- define "maskrcnn.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "maskrcnn.labels" -}}
{{ include "maskrcnn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "maskrcnn.selector" -}}
app.kubernetes.io/name: maskrcnn-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "maskrcnn.serviceAccount" -}}
{{- $own := ternary (include "maskrcnn.name" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $own -}}
{{- end -}}

{{- define "maskrcnn.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "maskrcnn.trainerImage" -}}
{{- .Values.trainer.image | default (printf "maskrcnn-trainer:%s-cpu" .Chart.AppVersion) -}}
{{- end -}}

{{- define "maskrcnn.reportsHost" -}}
{{ include "maskrcnn.name" . }}-reports.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "maskrcnn.reportsSecret" -}}
{{ include "maskrcnn.name" . }}-reports-tls
{{- end -}}

{{/* The securityContext of the operator's pods. An ID that is null is omitted, so that the platform chooses it. */}}
{{- define "maskrcnn.podSecurity" -}}
runAsNonRoot: true
{{- $given := .Values.podSecurityContext | default dict }}
{{- range $field := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $id := index $given $field }}
{{- if not (kindIs "invalid" $id) }}
{{ $field }}: {{ int64 $id }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The operator's permissions in each namespace that it watches; the same as in deploy/rbac.yaml. */}}
{{- define "maskrcnn.rules" -}}
- apiGroups: [maskrcnn.dev]
  resources: [maskrcnnexperiments]
  verbs: [get, list, watch, delete]
- apiGroups: [maskrcnn.dev]
  resources: [maskrcnnexperiments/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, update]
{{- end -}}

{{- define "maskrcnn.jobDefaults" -}}
{{- $defaults := dict -}}
{{- range $field := list "imagePullPolicy" "imagePullSecrets" "nodeSelector" "tolerations" "priorityClassName" "queueName" -}}
{{- with index $.Values.trainer $field -}}{{- $_ := set $defaults $field . -}}{{- end -}}
{{- end -}}
{{- /* for the operator, an absent ID means 1000, and null lets the platform choose */ -}}
{{- $ids := dict -}}
{{- $given := .Values.trainer.securityContext | default dict -}}
{{- range $field := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- $id := index $given $field -}}
{{- if ne (toString $id) "1000" -}}{{- $_ := set $ids $field $id -}}{{- end -}}
{{- end -}}
{{- with $ids -}}{{- $_ := set $defaults "securityContext" . -}}{{- end -}}
{{- toYaml $defaults -}}
{{- end -}}
