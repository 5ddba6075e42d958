"""Would an upgrade, or a move from Glance, go well? Looks at everything that a start needs, and changes nothing."""
