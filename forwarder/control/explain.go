package control

// Explain says which server a packet would get, and why; nothing changes.
func (c *Control) Explain(req ExplainRequest) (Explanation, error) {
	return Explanation{}, absent("explain is not built yet")
}
