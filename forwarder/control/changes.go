package control

// logChanges tells the log which servers change their state with a plan, each in
// one line that says why.
func (c *Control) logChanges(p *plan) {
	was := map[string]string{}
	if c.cluster != nil {
		for i := range c.servers {
			for j := range c.servers[i] {
				st := &c.servers[i][j]
				was[targetKey(&c.cluster.Services[i], st.conf.Name)], _ = c.judge(&c.cluster.Services[i], st, "")
			}
		}
	}
	checks := c.checkTexts()
	for i := range p.servers {
		for j := range p.servers[i] {
			st := &p.servers[i][j]
			conf := &p.cluster.Services[i]
			key := targetKey(conf, st.conf.Name)
			state, why := c.judge(conf, st, checks[key])
			if before, ok := was[key]; ok && before != state {
				switch state {
				case "ready":
					c.cfg.Log.Info("server gets new connections", "service", conf.Name, "server", st.conf.Name, "was", before)
				case "checking": // the next line says what came of it
				default:
					c.cfg.Log.Warn("server gets no new connections", "service", conf.Name, "server", st.conf.Name, "state", state, "why", why)
				}
			}
		}
	}
	if p.active != c.active {
		c.cfg.Log.Info("role", "active", p.active)
	}
}
