//go:build unix

package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var seconds = flag.Int("seconds", 1, "how long BenchmarkThroughput runs wrk each time")

// BenchmarkThroughput compares the gateway with the same proxy without a gate,
// under wrk, and prints requests per second and their ratio:
//
//	go test -run '^$' -bench Throughput -benchtime 1x . -args -seconds 5
//
// Three rounds of each pair are interleaved, so that a machine that becomes slower
// meanwhile slows both. The first ratio compares the medians. wrk, both servers and the
// API share the machine. The second ratio compares the CPU time that servers and API
// take for a request: it holds on a busy machine, too.
func BenchmarkThroughput(b *testing.B) {
	wrk := program(b, "wrk", "wrk")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) }))
	b.Cleanup(backend.Close)
	shop := openTokenShop(b, backend.URL, nil)
	g, key := shop.gateway, shop.key
	tokens := make([]string, 1000)
	for i := range tokens {
		shop.claims["uti"] = "u" + strconv.Itoa(i)
		tokens[i] = "Bearer " + shop.tenant.MintToken(shop.claims, nil)
	}
	gated, plain := listen(b, newServer(g)), listen(b, newServer(g.proxy))
	for range b.N {
		for _, load := range []struct {
			name    string
			header  string
			values  []string
			atLeast float64
		}{
			{"token", "Authorization", tokens[:1], 0.95},
			{"key", "Ocp-Apim-Subscription-Key", []string{key}, 0.95},
			{"tokens1000", "Authorization", tokens, 0.93},
		} {
			script := luaScript(b, load.header, load.values)
			var with, without, withCPU, withoutCPU []float64
			for round := range 3 {
				order := []bool{true, false}
				if round%2 == 1 {
					order = []bool{false, true}
				}
				for _, withGate := range order {
					if withGate {
						rate, cpu := perSecond(b, wrk, script, gated)
						with, withCPU = append(with, rate), append(withCPU, cpu)
					} else {
						rate, cpu := perSecond(b, wrk, script, plain)
						without, withoutCPU = append(without, rate), append(withoutCPU, cpu)
					}
				}
			}
			ratio := median(with) / median(without)
			cpu := median(withoutCPU) / median(withCPU)
			b.ReportMetric(ratio, load.name+"-ratio")
			b.ReportMetric(cpu, load.name+"-cpu-ratio")
			b.Logf("%-10s gateway %.0f/s, proxy %.0f/s: %.3f (at least %.2f expected on an idle machine); rounds %.0f, %.0f",
				load.name, median(with), median(without), ratio, load.atLeast, with, without)
			b.Logf("%-10s gateway %.1f µs CPU, proxy %.1f µs: %.3f", load.name, median(withCPU), median(withoutCPU), cpu)
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// luaScript makes wrk send the values in turn.
func luaScript(b *testing.B, header string, values []string) string {
	b.Helper()
	dir := b.TempDir()
	list, script := filepath.Join(dir, "values"), filepath.Join(dir, "load.lua")
	require.NoError(b, os.WriteFile(list, []byte(strings.Join(values, "\n")+"\n"), 0o600))
	require.NoError(b, os.WriteFile(script, fmt.Appendf(nil, `
local requests, n = {}, 0
init = function(args)
  for value in io.lines(%q) do
    requests[#requests + 1] = wrk.format("GET", "/orders/x", {[%q] = value})
  end
end
request = function()
  n = n %% #requests + 1
  return requests[n]
end
`, list, header), 0o600))
	return script
}

var (
	perSecondForm = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	requestsForm  = regexp.MustCompile(`([0-9]+) requests in`)
	failed        = regexp.MustCompile(`Non-2xx|Socket errors`)
)

// perSecond runs wrk. It returns requests per second and this process's CPU time
// for a request in microseconds.
func perSecond(b *testing.B, wrk, script, address string) (rate, cpu float64) {
	b.Helper()
	began := cpuTime(b)
	out, err := exec.Command(wrk, "-t1", "-c16", "-d"+strconv.Itoa(*seconds)+"s", "-s", script, "http://"+address).CombinedOutput()
	require.NoError(b, err, "%s", out)
	require.False(b, failed.Match(out), "%s", out)
	used := cpuTime(b) - began
	number := func(form *regexp.Regexp) float64 {
		m := form.FindSubmatch(out)
		require.Len(b, m, 2, "%s", out)
		v, err := strconv.ParseFloat(string(m[1]), 64)
		require.NoError(b, err)
		return v
	}
	return number(perSecondForm), float64(used.Microseconds()) / number(requestsForm)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
