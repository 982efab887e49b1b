package control

// Explain says which server a packet would get, and why; nothing changes.
func (c *Control) Explain(req ExplainRequest) (Explanation, error) {
	return Explanation{}, invalid("src: explain is not built yet")
}
