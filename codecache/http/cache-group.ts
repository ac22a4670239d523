/** `http://a/|http://b` -> its caches, without slashes at the end. */
export const cachesOf = (group: string): string[] => group.split('|').map(cache => cache.replace(/\/+$/, ''));
