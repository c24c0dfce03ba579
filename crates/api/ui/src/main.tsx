import { render } from "preact";
import { App } from "./app";
import { applyTheme } from "./parts/theme";
import "./style/base.css";
import "./style/parts.css";
import "./style/run.css";

applyTheme();
render(<App />, document.getElementById("app")!);
