'use strict'
// node-postgres against a gateway: `node scenario.js NAME`, where to by the variables of libpq. Ends with 0 where all was as it should be; prints lines that
// the test waits for.
const assert = require('node:assert/strict')
const fs = require('node:fs')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const copy = require('pg-copy-streams')

const say = (line) => process.stdout.write(line + '\n')

async function connected(run, options = {}) {
  const client = new Client(options)
  client.notices = []
  client.on('notice', (notice) => {
    client.notices.push(notice)
    if (notice.message.startsWith('Held for approval')) say(`HELD ${notice.message.split(' ')[3].replace('.', '')}`)
  })
  await client.connect()
  try {
    return await run(client)
  } finally {
    await client.end()
  }
}

async function isRefused(client, text, values) {
  const error = await client.query(text, values).then(() => assert.fail(`${text} was not refused`), (caught) => caught)
  assert.equal(error.code, '42501')
  assert.equal(error.message, 'Not here.')
  assert.match(error.hint, /Ask for less\./)
}

const scenarios = {
  // Simple, several statements in one string, text and binary results, prepared names, NULL, large values, errors.
  queries: () => connected(async (client) => {
    assert.deepEqual((await client.query('select 1 as a, null as b')).rows, [{ a: 1, b: null }])
    const both = await client.query("select 1 as a; select 'x' as b")
    assert.deepEqual(both.map((each) => each.rows[0]), [{ a: 1 }, { b: 'x' }])
    assert.deepEqual((await client.query('select $1::int + $2::int as sum, $3::text as t', [1, 2, 'ü'])).rows, [{ sum: 3, t: 'ü' }])
    const binary = await client.query({ text: 'select $1::int4 as n, true as yes', values: [7], binary: true })
    assert.deepEqual(binary.rows, [{ n: 7, yes: true }])
    const bytes = Buffer.from([0, 1, 255])
    assert.deepEqual((await client.query('select $1::bytea as raw', [bytes])).rows[0].raw, bytes)
    for (const id of [1, 2, 3]) {
      assert.equal((await client.query({ name: 'by-id', text: 'select $1::int * 2 as twice', values: [id] })).rows[0].twice, id * 2)
    }
    assert.equal((await client.query("select repeat('x', 300000) as wide")).rows[0].wide.length, 300000)
    assert.equal((await client.query("select repeat($1, 300000) as wide", ['y'])).rows[0].wide.length, 300000)
    const failed = await client.query('select 1/0').catch((error) => error)
    assert.equal(failed.code, '22012')
    const rows = await Promise.all([...Array(20).keys()].map((each) => client.query('select $1::int as n', [each])))
    assert.deepEqual(rows.map((each) => each.rows[0].n), [...Array(20).keys()])
    const cursor = client.query(new Cursor('select generate_series(1, 10) as n', []))
    assert.equal((await cursor.read(4)).length, 4)
    assert.equal((await cursor.read(10)).length, 6)
    await cursor.close()
    assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
    const pool = new Pool({ max: 3 })
    const sums = await Promise.all([...Array(9).keys()].map((each) => pool.query('select $1::int + 1 as n', [each])))
    assert.deepEqual(sums.map((each) => each.rows[0].n), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    await pool.end()
  }),

  // Several queries on their way at once, a refused one among them.
  pipeline: () => connected(async (client) => {
    const asked = [...Array(30).keys()].map((each) => client.query({ name: each % 2 ? 'named' : undefined, text: 'select $1::int as n', values: [each] }))
    const refused = client.query('delete from node_rows where id = $1', [1]).catch((error) => error)
    const behind = client.query('select $1::text as t', ['behind'])
    assert.deepEqual((await Promise.all(asked)).map((each) => each.rows[0].n), [...Array(30).keys()])
    assert.equal((await refused).code, '42501')
    assert.equal((await behind).rows[0].t, 'behind')
  }, { pipeline: true }),

  // A refusal leaves the connection usable, in both protocols and in a transaction.
  refused: () => connected(async (client) => {
    await isRefused(client, 'delete from node_rows')
    assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
    await isRefused(client, 'delete from node_rows where id = $1', [1])
    assert.equal((await client.query('select $1::int as a', [2])).rows[0].a, 2)
    await client.query('begin')
    await client.query('insert into node_rows values (100)')
    await isRefused(client, 'delete from node_rows where id = $1', [1])
    assert.equal((await client.query('select 1').catch((error) => error)).code, '25P02')
    assert.equal((await client.query('commit')).command, 'ROLLBACK')
    assert.equal((await client.query('select count(*)::int as n from node_rows where id = 100')).rows[0].n, 0)
  }),

  // Held: told at once, passes after the approval that the test gives.
  held: () => connected(async (client) => {
    assert.equal((await client.query('delete from node_rows where id = 1')).rowCount, 1)
    assert.equal((await client.query('delete from node_rows where id = $1', [2])).rowCount, 1)
    assert.equal(client.notices.filter((notice) => notice.message.startsWith('Held for approval')).length, 2)
    assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
  }),

  masked: () => connected(async (client) => {
    for (const query of [
      'select name, ssn from node_people',
      { text: 'select name, ssn from node_people where name = $1', values: ['ann'] },
      { name: 'people', text: 'select name, ssn from node_people where name = $1', values: ['ann'] },
      { text: 'select name, ssn from node_people where name = $1', values: ['ann'], binary: true },
    ]) {
      const { rows } = await client.query(query)
      assert.ok(rows.some((row) => row.name === 'ann'))
      assert.ok(rows.every((row) => !String(row.ssn).includes('123-45')), JSON.stringify(rows))
    }
    const out = client.query(copy.to('copy node_people to stdout'))
    let text = ''
    for await (const chunk of out) text += chunk
    assert.match(text, /ann/)
    assert.doesNotMatch(text, /123-45/)
  }),

  // A cancel of what runs, and of what is held.
  cancel: () => connected(async (client) => {
    for (const text of ['select pg_sleep(59)', 'delete from node_rows where id = 3']) {
      const pending = client.query(text)
      const failed = pending.catch((error) => error)
      if (text.startsWith('delete')) await new Promise((resolve) => client.once('notice', resolve))
      else await untilRuns(text)
      new Client().cancel(client, client.activeQuery)
      assert.equal((await failed).code, '57014')
      assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
    }
  }),

  copy: () => connected(async (client) => {
    const lines = [...Array(20000).keys()].map((each) => `${each + 1000}\n`)
    await pipeline(Readable.from(lines), client.query(copy.from('copy node_rows from stdin')))
    assert.equal((await client.query('select count(*)::int as n from node_rows where id >= 1000')).rows[0].n, 20000)
    let bytes = 0
    for await (const chunk of client.query(copy.to('copy (select id from node_rows where id >= 1000) to stdout'))) bytes += chunk.length
    assert.equal(bytes, lines.join('').length)
    const broken = await pipeline(Readable.from(['no number\n']), client.query(copy.from('copy node_rows from stdin'))).catch((error) => error)
    assert.equal(broken.code, '22P02')
    assert.equal((await client.query('select 1 as a')).rows[0].a, 1)
  }),

  tls: async () => {
    const ca = fs.readFileSync(process.env.CA, 'utf8')
    await connected(async (client) => {
      assert.equal(client.connection.stream.encrypted, true)
      assert.equal(client.connection.stream.authorized, true)
      assert.equal((await client.query('select $1::text as t', ['tls'])).rows[0].t, 'tls')
    }, { host: 'localhost', ssl: { ca, rejectUnauthorized: true } })
    const bound = new Client({ host: 'localhost', ssl: { ca, rejectUnauthorized: true }, enableChannelBinding: true })
    await bound.connect()
    assert.equal(bound.saslSession, null)
    assert.equal((await bound.query('select 1 as a')).rows[0].a, 1)
    await bound.end()
    const stranger = await new Client({ host: 'localhost', ssl: { rejectUnauthorized: true } }).connect().then(() => null, (error) => error)
    assert.ok(stranger, 'a certificate of an unknown authority was trusted')
  },

  wrongpassword: async () => {
    for (const change of [{ password: 'wrong' }, { user: 'nobody' }]) {
      const error = await new Client(change).connect().then(() => assert.fail('let in'), (caught) => caught)
      assert.equal(error.code, '28P01')
    }
    const gone = await new Client({ database: 'nowhere' }).connect().then(() => assert.fail('let in'), (caught) => caught)
    assert.match(gone.code, /^(28000|3D000)$/)
  },
}

// Asks on another connection until the statement is seen to run.
const untilRuns = (text) => connected(async (other) => {
  for (;;) {
    const { rows } = await other.query('select 1 from pg_stat_activity where query = $1 and state = $2', [text, 'active'])
    if (rows.length > 0) return
  }
})

const scenario = scenarios[process.argv[2]]
assert.ok(scenario, `there is no scenario ${process.argv[2]}`)
scenario().then(() => say('OK'), (error) => {
  process.stderr.write(`${error.stack}\n${JSON.stringify(error)}\n`)
  process.exitCode = 1
})
