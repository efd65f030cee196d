"""Speed and size as ratios against named baselines, both sides measured in one run."""
