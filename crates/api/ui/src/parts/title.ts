import { useEffect } from "preact/hooks";

/** What the tab is called. */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · planfleet`;
  }, [title]);
}
