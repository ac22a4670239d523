import type { Storage } from '../storage/storage.ts';

/** `N.<role>.json` names in a directory; nothing when there is none. */
export async function versionedNames(
  storage: Storage,
  directory: string,
): Promise<{ name: string; path: string; role: string; version: number }[]> {
  return (await storage.list(directory)).flatMap(name => {
    const match = /^([1-9][0-9]{0,8})\.([a-z][a-z0-9-]*)\.json$/.exec(name);
    return match ? [{ name, path: `${directory}/${name}`, role: match[2]!, version: Number(match[1]) }] : [];
  });
}
