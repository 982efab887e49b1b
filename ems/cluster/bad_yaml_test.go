package cluster

import "strings"

// badFiles are not a cluster file at all.
func badFiles() []badFile {
	return []badFile{
		{"empty file", "", []string{
			`1:1: the file is empty: it starts with a line like "cluster: shop"; docs/cluster.reference.yaml shows every key`,
		}},
		{"comments only", "# nothing\n", []string{
			`1:1: the file is empty: it starts with a line like "cluster: shop"; docs/cluster.reference.yaml shows every key`,
		}},
		{"null", "~\n", []string{
			`1:1: the file is empty: it starts with a line like "cluster: shop"; docs/cluster.reference.yaml shows every key`,
		}},
		{"a list", "- cluster: shop\n", []string{
			"1:1: want a mapping of cluster, topology, networks, station, ha, forwarding, delivery, directors, realservers, services, got a list",
		}},
		{"a word", "shop\n", []string{
			`1:1: want a mapping of cluster, topology, networks, station, ha, forwarding, delivery, directors, realservers, services, got "shop"`,
		}},
		{"two documents", "cluster: shop\n---\ncluster: shop\n", []string{
			"1:1: directors: is missing: want a list of one or two directors",
			"2:1: a second document starts here: one file describes one cluster",
		}},
		{"tab", "cluster: shop\nha:\n\tvrid: 3\n", []string{
			"3:1: not valid YAML: a tab indents this line: use spaces",
		}},
		{"tab after spaces", "cluster: shop\nha:\n  vrid: 3\n \tpreempt: true\n", []string{
			"4:2: not valid YAML: a tab indents this line: use spaces",
		}},
		{"not UTF-8", "cluster: shop\n# caf\xe9\n", []string{
			"2:6: byte 0xe9 is not UTF-8: save the file as UTF-8 text",
		}},
		{"UTF-16", "\xff\xfec\x00:\x00", []string{
			"1:1: byte 0xff is not UTF-8: save the file as UTF-8 text",
		}},
		{"control character", "cluster: \"a\x07\"\n", []string{
			"1:12: control character U+0007: a cluster file is plain text",
		}},
		{"NUL", "cluster: a\x00\n", []string{
			"1:11: control character U+0000: a cluster file is plain text",
		}},
		{"open quote", "cluster: \"shop\n", []string{
			"1:10: not valid YAML: found unexpected end of stream (while scanning a quoted scalar)",
		}},
		{"open bracket", "cluster: shop\nservices: [\n", []string{
			"3:1: not valid YAML: did not find expected node content",
		}},
		{"colon missing", "cluster: shop\nservices\n", []string{
			"2:1: not valid YAML: could not find expected ':' (while scanning a simple key)",
		}},
		{"colon too many", "cluster: shop: web\n", []string{
			`1:14: not valid YAML: mapping values are not allowed in this context: is a line before it indented differently, or a text with ": " not quoted?`,
		}},
		{"indentation", "cluster: shop\n ha: {}\n", []string{
			`2:4: not valid YAML: mapping values are not allowed in this context: is a line before it indented differently, or a text with ": " not quoted?`,
		}},
		{"backquote", "cluster: `shop`\n", []string{
			"1:10: not valid YAML: found character that cannot start any token: put the text in quotes",
		}},
		{"unknown anchor", "cluster: *shop\n", []string{
			"1:10: not valid YAML: unknown anchor 'shop' referenced",
		}},
		{"YAML directive", "%YAML 1.2\n---\ncluster: shop\n", []string{
			"1:1: not valid YAML: found incompatible YAML document: leave the %YAML line out",
		}},
		{"deep flow", strings.Repeat("[", 50_000), []string{
			"1:41: nested deeper than 40 levels: a cluster file is nearly flat",
		}},
		{"too many values", "services: [" + strings.Repeat("a,", maxMarks) + "]", []string{
			"1:400009: more than 200000 values: is this the right file?",
		}},
		{"deep block", strings.Repeat("- ", 50_000), []string{
			"1:81: nested deeper than 40 levels: a cluster file is nearly flat",
		}},
	}
}
