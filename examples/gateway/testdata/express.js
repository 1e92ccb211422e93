// An API that, as Express does by default, matches paths without regard to letter
// case. It prints its port.
'use strict';
const app = require('express')();
app.get('/admin', (_, response) => response.send('admin'));
app.get('/:id', (request, response) => response.send('order ' + request.params.id));
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
