{{- define "maskrcnn.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "maskrcnn.labels" -}}
{{ include "maskrcnn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "maskrcnn.selector" -}}
app.kubernetes.io/name: maskrcnn-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "maskrcnn.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "maskrcnn.name" .) -}}
{{- end -}}

{{- define "maskrcnn.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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

{{/* What the operator may do to experiments and their children, wherever it watches; the same as deploy/rbac.yaml. */}}
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
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, update]
{{- end -}}

{{- define "maskrcnn.jobDefaults" -}}
{{- $defaults := dict -}}
{{- range $field := list "imagePullPolicy" "imagePullSecrets" "nodeSelector" "tolerations" "priorityClassName" "queueName" -}}
{{- with index $.Values.trainer $field -}}{{- $_ := set $defaults $field . -}}{{- end -}}
{{- end -}}
{{- toYaml $defaults -}}
{{- end -}}
