"""What Chatter does: values, rules, use-cases and the ports they need, on the standard library alone."""
