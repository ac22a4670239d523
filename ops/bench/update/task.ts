/** What a client of the bench is told, as its one argument, in JSON. */
export interface Task {
  /** Where it keeps what it has. */
  directory: string;
  /** Base URL of the store. */
  url: string;
  /** The pinned root. */
  rootFile: string;
  arch: string;
  /** Its clock is ahead by this much. */
  aheadSeconds: number;
}
