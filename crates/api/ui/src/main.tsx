import { render } from "preact";
import { introduce } from "./api/who";
import { App } from "./app";
import { applyTheme } from "./parts/theme";
import "./style/base.css";
import "./style/parts.css";
import "./style/run.css";

applyTheme();
introduce();
render(<App />, document.getElementById("app")!);
