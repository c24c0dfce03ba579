{{- define "planfleet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "planfleet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "planfleet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: planfleet
{{ include "planfleet.selector" . }}
{{- end -}}

{{- define "planfleet.selector" -}}
app.kubernetes.io/name: {{ include "planfleet.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "planfleet.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "planfleet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "planfleet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "planfleet.brokerUrl" -}}
{{- if .Values.broker.url -}}
{{- .Values.broker.url -}}
{{- else if .Values.nats.enabled -}}
{{- $scheme := ternary "tls" "nats" .Values.nats.config.nats.tls.enabled -}}
{{- printf "%s://%s-nats:4222" $scheme .Release.Name -}}
{{- else -}}
{{- fail "broker.url is missing: set it, or nats.enabled=true" -}}
{{- end -}}
{{- end -}}

{{- define "planfleet.monitoringUrl" -}}
{{- if .Values.broker.monitoringUrl -}}
{{- .Values.broker.monitoringUrl -}}
{{- else if .Values.nats.enabled -}}
{{- printf "http://%s-nats-headless.%s.svc:8222" .Release.Name .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The port of an address. */}}
{{- define "planfleet.port" -}}
{{- $url := urlParse . -}}
{{- $usual := dict "https" "443" "wss" "443" "http" "80" "ws" "80" -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (get $usual $url.scheme) | default "4222" -}}
{{- end -}}

{{/* Ports of addresses that are separated by commas, as those of a NetworkPolicy. */}}
{{- define "planfleet.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}
{{- $ports = append $ports (include "planfleet.port" (trim .)) -}}
{{- end -}}
{{- range uniq $ports }}
- {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* Everything that runs, by component: its roles, whose key it has, how long it may take to stop,
     whether it works for a pool, whether it calls models. */}}
{{- define "planfleet.components" -}}
{{- $all := dict -}}
{{- $_ := set $all "coordinator" (dict "role" "coordinator" "key" "coordinator.nk" "manage" "verify" "values" .Values.coordinator "grace" 30 "works" false "calls" false "args" (list)) -}}
{{- $grace := add .Values.planner.stepTimeoutSeconds 30 -}}
{{- $_ := set $all "planner" (dict "role" "planner" "key" "planner.nk" "manage" "off" "values" .Values.planner "grace" $grace "works" true "calls" true "pool" "plan" "args" (list)) -}}
{{- range $pool, $values := .Values.executors -}}
{{- $grace := add $values.stepTimeoutSeconds 30 -}}
{{- $_ := set $all (printf "executor-%s" $pool) (dict "role" "executor" "key" (printf "executor-%s.nk" $pool) "manage" "off" "values" $values "grace" $grace "works" true "calls" true "pool" $pool "args" (list "--pool" $pool)) -}}
{{- end -}}
{{- if .Values.api.enabled -}}
{{- $_ := set $all "api" (dict "role" "api" "key" "api.nk" "manage" "off" "values" .Values.api "grace" 60 "works" false "calls" .Values.api.previews "args" (list)) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "planfleet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "planfleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The files that a process of a role has: root, role, key. */}}
{{- define "planfleet.volumes" -}}
- name: config
  configMap: {name: {{ include "planfleet.fullname" .root }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if .root.Values.broker.keysSecret }}
- name: key
  secret:
    secretName: {{ .root.Values.broker.keysSecret }}
    # Its own key, and no other.
    items: [{key: {{ .key }}, path: nkey}]
    defaultMode: 0440
{{- end }}
{{- if .root.Values.broker.tls.secret }}
- name: tls
  secret:
    secretName: {{ .root.Values.broker.tls.secret }}
    defaultMode: 0440
{{- end }}
{{- if eq .role "api" }}
- name: index
{{- with .root.Values.api.index.volume }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  emptyDir: {sizeLimit: {{ .root.Values.api.index.sizeLimit }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "planfleet.mounts" -}}
- {name: config, mountPath: /etc/planfleet, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.broker.keysSecret }}
- {name: key, mountPath: /run/planfleet/key, readOnly: true}
{{- end }}
{{- if .root.Values.broker.tls.secret }}
- {name: tls, mountPath: /run/planfleet/tls, readOnly: true}
{{- end }}
{{- if eq .role "api" }}
- {name: index, mountPath: /var/lib/planfleet}
{{- end }}
{{- end -}}
