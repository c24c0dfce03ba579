// The dashboard in a real browser, on a real fleet: `dashboard.mjs CHAPTER BASE [PICTURES]`, where BASE
// is the API's address. Prints what was seen as JSON; ends with 1 where something was not as it should
// be. `tests/e2e/dashboard.rs` starts the fleet, whose models answer by its script.

import { away } from "./away.mjs";
import { check, launch } from "./browser.mjs";
import { pages } from "./pages.mjs";
import { steering } from "./steering.mjs";
import { text } from "./text.mjs";

const chapters = { steering, text, pages, away };
const [name, base, pictures] = process.argv.slice(2);
check(name in chapters && base, `usage: dashboard.mjs ${Object.keys(chapters).join("|")} BASE [PICTURES]`);
const browser = await launch();
try {
  console.log(JSON.stringify(await chapters[name](browser, base, pictures)));
} finally {
  await browser.close();
}
