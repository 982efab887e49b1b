package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

func nodeFlag() cli.Flag {
	return &cli.StringFlag{Name: "node", Usage: "`NAME` of this director in the cluster file (default: the host name up to its first dot)"}
}

// nodeName is this director's name in the cluster file.
func nodeName(c *cli.Context) (string, error) {
	if n := c.String("node"); n != "" {
		return n, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("host name: %w; give --node NAME", err)
	}
	short, _, _ := strings.Cut(host, ".")
	return strings.ToLower(short), nil
}
