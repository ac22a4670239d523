/** Without these in force no client can read a tree at all; one expired channel is for the nodes that follow it to judge. */
const NEEDED: readonly string[] = ['root', 'timestamp', 'snapshot', 'targets'];

/** Whether a copy of a tree in which this role is expired is no copy worth having. */
export const isNeeded = (role: string): boolean => NEEDED.includes(role);
