"""Messages, processes, devices: what every part uses and knows no part."""
