/** What only some may do: for the others the reason stands in its place. */

import type { ComponentChildren } from "preact";
import { may, type Role, whyNot } from "../api/who";

interface Props {
  role: Role;
  /** What it is, at the beginning of a sentence. */
  what?: string;
  children: ComponentChildren;
  /** Where the reason stands elsewhere already. */
  silent?: boolean;
}

export function For({ role, what, children, silent }: Props) {
  if (may(role)) return <>{children}</>;
  return silent ? null : <span class="soft why-not">{whyNot(role, what)}</span>;
}
