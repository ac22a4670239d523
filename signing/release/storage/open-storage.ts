import { fileStorage } from './file-storage.ts';
import type { Storage } from './storage.ts';

/**
 * Opens the place where a repository is kept; whoever opens it closes it.
 *
 * @param place a directory.
 */
export const openStorage = async (place: string): Promise<Storage> => fileStorage(place);
