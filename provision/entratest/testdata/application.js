// Creates, reads and deletes an application with a token that msal-node got by the
// client-credentials flow. Its arguments are the authority, the base URL of Graph
// and the client ID; the secret comes by standard input. It prints the application
// as Graph returned it when it was read.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const { ConfidentialClientApplication } = require('@azure/msal-node');

async function main([authority, graph, clientId]) {
  const client = new ConfidentialClientApplication({
    auth: { authority, clientId, clientSecret: fs.readFileSync(0, 'utf8'), knownAuthorities: [new URL(authority).host] },
  });
  const request = { scopes: [graph + '/.default'] };
  const token = await client.acquireTokenByClientCredential(request);
  assert.strictEqual(token.tokenType, 'Bearer');
  const again = await client.acquireTokenByClientCredential(request);
  assert.ok(again.fromCache && again.accessToken === token.accessToken, 'msal-node caches the token');

  const call = async (method, path, status, body) => {
    const response = await fetch(graph + '/v1.0' + path, {
      method,
      headers: { Authorization: 'Bearer ' + token.accessToken, 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    assert.strictEqual(response.status, status, method + ' ' + path);
    return response;
  };
  const created = await (await call('POST', '/applications', 201, { displayName: 'By msal-node' })).json();
  const read = await (await call('GET', '/applications/' + created.id, 200)).json();
  await call('DELETE', '/applications/' + created.id, 204);
  await call('GET', '/applications/' + created.id, 404);
  console.log(JSON.stringify(read));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
