package tests

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/shaders"
)

// eachDevice runs a test on every usable device. In CI both software drivers
// must be there.
func eachDevice(t *testing.T, test func(t *testing.T, d *engine.Device)) {
	t.Helper()
	infos, err := engine.Devices()
	if os.Getenv("CI") != "" {
		require.NoError(t, err)
		names := ""
		for _, i := range infos {
			names += i.Name + "\n"
		}
		require.Contains(t, names, "llvmpipe", "CI needs Mesa's lavapipe")
		require.Contains(t, names, "SwiftShader", "CI needs SwiftShader")
	}
	if err != nil {
		t.Skipf("needs a Vulkan device: %v", err)
	}
	tested := 0
	only := os.Getenv("VKALEXNET_TEST_DEVICE") // part of a name
	for _, info := range infos {
		if info.Rejected != "" || !strings.Contains(info.Name, only) {
			continue
		}
		tested++
		t.Run(short(info.Name), func(t *testing.T) {
			d, err := engine.Open(info, shaders.FS)
			require.NoError(t, err)
			defer d.Close()
			test(t, d)
		})
	}
	if tested == 0 {
		t.Skip("needs a Vulkan device: none of those present is usable")
	}
}

func short(name string) string {
	word, _, _ := strings.Cut(name, " ")
	return word
}

var testShaders = shaders.FS

var errWrong = errors.New("the device computed something else")
