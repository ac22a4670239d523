import { monotonicFactory } from 'ulid';

const next = monotonicFactory();

/** A new sortable id: 26 characters, ULID (48 bits of milliseconds, 80 random bits). Minted by whoever creates the thing. */
export const newId = (): string => next();
