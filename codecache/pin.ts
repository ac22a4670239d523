import { createHash } from 'node:crypto';

/** Names what a node trusts under one pinned root; wrapper and TypeScript client share the directory of this name. */
export const pinOf = (rootJson: Uint8Array | string): string =>
  createHash('sha256').update(rootJson).digest('hex').slice(0, 16);
