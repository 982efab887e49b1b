package cluster

import "strings"

// maxCandidates bounds the search for a word that was meant, so that a file with
// a thousand wrong names in a farm of thousands is still refused at once.
const maxCandidates = 1000

// didYouMean returns `, did you mean "x"?` for the candidate nearest to word, or
// "" when none is near.
func didYouMean(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return `, did you mean "` + best + `"?`
	}
	return ""
}

// nearest returns the candidate with the fewest edits to word: one edit for
// every three letters at most. Of equals the first wins.
func nearest(word string, candidates []string) string {
	if len(word) > 64 || len(candidates) > maxCandidates {
		return ""
	}
	w := fold(word)
	best, least := "", len(w)+1
	for _, c := range candidates {
		f := fold(c)
		limit := max(1, max(len(w), len(f))/3)
		if len(f)-len(w) > limit || len(w)-len(f) > limit {
			continue
		}
		if d := edits(w, f); d <= limit && d < min(least, max(len(w), len(f))) {
			best, least = c, d
		}
	}
	return best
}

// fold takes away what people vary without thinking.
func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// edits counts insertions, deletions, substitutions and swaps of neighbours
// (optimal string alignment) in bytes.
func edits(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
