-- Health of a MaskRCNNExperiment for Argo CD, from its conditions.
local health = {}
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local ready = conditions["Ready"]
if ready ~= nil then
  health.message = ready.message
end

if obj.metadata.deletionTimestamp ~= nil then
  health.status = "Progressing"
  health.message = "Being deleted"
elseif ready == nil then
  health.status = "Progressing"
  health.message = "Waiting for the operator"
elseif obj.status.observedGeneration ~= obj.metadata.generation then
  health.status = "Progressing"
  health.message = "Waiting for the operator to see the newest spec"
elseif is_true("Stalled") then
  health.status = "Degraded"
elseif is_true("Reconciling") then
  health.status = "Progressing"
elseif is_true("Succeeded") then
  health.status = "Healthy"
elseif is_true("Suspended") then
  health.status = "Suspended"
else
  health.status = "Progressing"
end
return health
