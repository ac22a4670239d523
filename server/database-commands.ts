import type { Command } from 'commander';
import { action, print } from '../lib/cli.ts';
import type { Database } from '../lib/database/database.ts';
import { migrate } from '../lib/database/migrate.ts';
import { openDatabase } from '../lib/database/open-database.ts';
import { tablesCreated } from '../lib/database/record-statements.ts';
import { schemaState } from '../lib/database/schema-state.ts';
import { serverMigrations } from './migrations/all.ts';
import type { ServerTables } from './schema.ts';

interface DatabaseOptions {
  json?: boolean;
  database: string;
}

/** Adds `pilotage db migrate | plan | owners`. */
export function registerDatabaseCommands(program: Command): void {
  const db = program
    .command('db')
    .description("The server's database: its schema and whose tables are whose.");
  const withDatabase = (command: Command) =>
    command
      .requiredOption('--database <url>', 'sqlite:<path>, postgres://… or mariadb://…')
      .option('--json', 'print the result as JSON');
  withDatabase(
    db.command('plan').description('Show which migrations would be applied; changes nothing.'),
  ).action(action<DatabaseOptions>(plan));
  withDatabase(db.command('migrate').description('Bring the schema up to this release.')).action(
    action<DatabaseOptions>(apply),
  );
  db.command('owners')
    .description('List every table with the component that owns it and its class.')
    .option('--database <url>', 'not needed: the register ships with the product')
    .option('--json', 'print the result as JSON')
    .action(action<{ json?: boolean }>(owners));
}

async function withOpen<T>(url: string, work: (database: Database<ServerTables>) => Promise<T>): Promise<T> {
  const database = await openDatabase<ServerTables>(url);
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

async function plan(options: DatabaseOptions): Promise<void> {
  const state = await withOpen(options.database, database => schemaState(database, serverMigrations));
  print(state, options, ({ ready, missing, changed, unknown, ahead }) =>
    [
      ready ? 'The schema fits this release.' : 'The schema does not fit this release.',
      ...missing.map(id => `to apply: ${id}`),
      ...changed.map(id => `changed: ${id}`),
      ...ahead.map(id => `newer, still readable: ${id}`),
      ...unknown.map(id => `newer, not readable: ${id}`),
    ].join('\n'),
  );
}

async function apply(options: DatabaseOptions): Promise<void> {
  const result = await withOpen(options.database, database => migrate(database, serverMigrations));
  print(result, options, ({ applied }) =>
    applied.length === 0 ? 'Nothing to do.' : applied.map(id => `applied: ${id}`).join('\n'),
  );
}

async function owners(options: { json?: boolean }): Promise<void> {
  const rows = [];
  for (const migration of serverMigrations) {
    for (const table of await tablesCreated(migration)) {
      rows.push({ table, owner: migration.owner, class: migration.class, since: migration.id });
    }
  }
  print(rows, options, list =>
    list
      .map(row => `${row.table.padEnd(18)} ${row.owner.padEnd(10)} ${row.class.padEnd(9)} ${row.since}`)
      .join('\n'),
  );
}
