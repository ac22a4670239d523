import { join, resolve } from 'node:path';

/** Where the parts of a one-machine site keep their files. */
export interface SiteLayout {
  root: string;
  siteFile: string;
  clientFile: string;
  lockFile: string;
  credentials: string;
  repository: string;
  keys: string;
  passphrases: string;
  cache: string;
  server: string;
  autopilot: string;
  nodeStore: string;
  outputs: string;
  logs: string;
}

export function siteLayout(directory: string): SiteLayout {
  const root = resolve(directory);
  const below = (...parts: string[]) => join(root, ...parts);
  return {
    root,
    siteFile: below('site.json'),
    clientFile: below('client.json'),
    lockFile: below('site.lock'),
    credentials: below('credentials'),
    repository: below('release', 'repository'),
    keys: below('release', 'keys'),
    passphrases: below('release', 'passphrases'),
    cache: below('cache'),
    server: below('server'),
    autopilot: below('autopilot'),
    nodeStore: below('node-store'),
    outputs: below('outputs'),
    logs: below('logs'),
  };
}
