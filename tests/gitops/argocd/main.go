// Command argocd runs Argo CD's engine on a file of manifests and prints the result as JSON:
//
//	argocd sync|diff NAMESPACE MANIFEST.yaml HEALTH.lua
//
// sync applies the manifests without waiting. Both print which manifests differ from the cluster, and the health of each
// resource according to the Lua script.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/engine"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
)

const trackedBy = "test.maskrcnn.dev/application"

type answer struct {
	Synced   map[string]string `json:"synced"`
	Modified []string          `json:"modified"`
	Health   map[string]string `json:"health"`
	Message  map[string]string `json:"message"`
}

func main() {
	if len(os.Args) != 5 {
		fail(fmt.Errorf("expected four arguments: sync|diff NAMESPACE MANIFEST.yaml HEALTH.lua"))
	}
	found, err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

func run(mode, namespace, manifest, script string) (*answer, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	text, err := os.ReadFile(manifest)
	if err != nil {
		return nil, err
	}
	wanted, err := kube.SplitYAML(text)
	if err != nil {
		return nil, err
	}
	for _, item := range wanted {
		annotations := item.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[trackedBy] = namespace
		item.SetAnnotations(annotations)
		item.SetNamespace(namespace)
	}
	judge, err := newJudge(script)
	if err != nil {
		return nil, err
	}
	clusterCache := cache.NewClusterCache(config,
		cache.SetNamespaces([]string{namespace}),
		cache.SetPopulateResourceInfoHandler(func(item *unstructured.Unstructured, _ bool) (any, bool) {
			mine := item.GetAnnotations()[trackedBy] == namespace
			return mine, mine
		}),
	)
	argo := engine.NewEngine(config, clusterCache)
	stop, err := argo.Run()
	if err != nil {
		return nil, err
	}
	defer stop()
	isManaged := func(resource *cache.Resource) bool {
		mine, ok := resource.Info.(bool)
		return ok && mine
	}
	found := &answer{Synced: map[string]string{}, Modified: []string{}, Health: map[string]string{}, Message: map[string]string{}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if mode == "sync" {
		results, err := argo.Sync(ctx, wanted, isManaged, "revision", namespace, sync.WithHealthOverride(judge))
		if err != nil {
			return nil, err
		}
		for _, result := range results {
			found.Synced[result.ResourceKey.Name] = string(result.Status)
			if result.Status == common.ResultCodeSyncFailed {
				found.Message[result.ResourceKey.Name] = result.Message
			}
		}
	}
	live, err := clusterCache.GetManagedLiveObjs(wanted, isManaged)
	if err != nil {
		return nil, err
	}
	for _, item := range wanted {
		there := live[kube.GetResourceKey(item)]
		if there == nil {
			found.Modified = append(found.Modified, item.GetName())
			continue
		}
		compared, err := diff.Diff(item, there)
		if err != nil {
			return nil, err
		}
		if compared.Modified {
			found.Modified = append(found.Modified, item.GetName())
		}
		state, err := health.GetResourceHealth(there, judge)
		if err != nil {
			return nil, err
		}
		if state != nil {
			found.Health[item.GetName()] = string(state.Status)
			found.Message[item.GetName()] = state.Message
		}
	}
	return found, nil
}

// judge computes the health of MaskRCNNExperiments with a Lua script, as Argo CD does with the one in argocd-cm.
type judge struct{ script string }

func newJudge(file string) (*judge, error) {
	text, err := os.ReadFile(file)
	return &judge{string(text)}, err
}

func (j *judge) GetResourceHealth(item *unstructured.Unstructured) (*health.HealthStatus, error) {
	if item.GetKind() != "MaskRCNNExperiment" {
		return nil, nil
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, item.Object))
	if err := state.DoString(j.script); err != nil {
		return nil, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script didn't return a table")
	}
	return &health.HealthStatus{
		Status:  health.HealthStatusCode(table.RawGetString("status").String()),
		Message: table.RawGetString("message").String(),
	}, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, inner := range value {
			table.RawSetString(key, toLua(state, inner))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, inner := range value {
			table.Append(toLua(state, inner))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "argocd:", err)
	os.Exit(1)
}
