/** Objects that are no more: these, or all that any tier has. */
export type Forgotten = readonly string[] | 'all';

/**
 * Who decides what stays in the directory that the processes of one cache share: one for all of them. The processes tell
 * it what they put there and use; it removes the least recently used, never what is pinned. In a cache of several
 * processes it lives in their primary. That an object is there is said by the file system alone: a process opens what
 * another one put there without asking anyone.
 */
export interface DiskKeeper {
  /** An object of so many bytes was put in its place. */
  kept(sha256: string, bytes: number): void;
  /** An object was asked for; a process tells this about once a minute and object. */
  used(sha256: string): void;
  /** An object was damaged, and the process that found it so has removed its file. */
  lost(sha256: string): void;
  /** What the channels of a view point to now; replaces what was pinned for that view. */
  pin(view: string, sha256s: readonly string[]): void;
  /** The disk is full: removes at least so many bytes, or nothing when it cannot. @returns bytes removed. */
  makeRoom(bytes: number): Promise<number>;
  /** Calls back when objects were purged or found damaged: no process may serve its copy any more. */
  onForgotten(listener: (objects: Forgotten) => void): void;
}
