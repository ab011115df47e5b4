"""What is written of a load: verdict.json, JUnit, Markdown, and the page with its pictures."""
