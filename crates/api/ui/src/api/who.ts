/** Who looks at the page, and what the server lets them do: its buttons are for those who may press them. */

import { computed, effect, signal } from "@preact/signals";
import { get, keyGiven } from "./client";
import { after, backoff } from "./link";

export type Role = "reader" | "operator" | "admin";

export interface Who {
  /** Null for who may see all tenants. */
  tenant: string | null;
  role: Role;
  /** `none`, `key` or `jwt`. */
  auth: string;
  name: string | null;
}

/** Null until the server has said it. */
export const who = signal<Who | null>(null);

const RANKS: Role[] = ["reader", "operator", "admin"];

/** Whether the server would do what needs that role. As long as it is not known, it may be tried. */
export function may(role: Role): boolean {
  return who.value === null || RANKS.indexOf(who.value.role) >= RANKS.indexOf(role);
}

/** Why something cannot be done, in words. */
export function whyNot(role: Role, what = "This"): string {
  const verb = what.includes(" and ") ? "need" : "needs";
  return `${what} ${verb} the role ${role}; yours is ${who.value?.role ?? "not known"}.`;
}

/** What the top of the page says of them; nothing where the server asks nobody. */
export const introduced = computed(() => {
  const one = who.value;
  if (!one || one.auth === "none") return "";
  return [one.name, one.role, one.tenant && `tenant ${one.tenant}`].filter(Boolean).join(" · ");
});

/** Asks at the beginning, and again for each key. */
export function introduce() {
  let failed = 0;
  let forget = () => {};
  const ask = () => {
    get<Who>("/v1/whoami").then(
      (said) => {
        failed = 0;
        who.value = said;
      },
      () => (forget = after(backoff(++failed), ask)),
    );
  };
  effect(() => {
    void keyGiven.value;
    forget();
    ask();
  });
}
