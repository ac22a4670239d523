import { signingError } from '../../errors.ts';

/** @param where the directory or database. */
export const noRepository = (where: string) =>
  signingError({
    code: 'E_REPOSITORY_MISSING',
    message: 'There is no release repository here.',
    where,
    fix: 'Name it with --repo, or make one with "pilotage release init".',
  });
