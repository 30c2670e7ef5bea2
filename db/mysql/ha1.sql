-- No plain password in the database: auth_ha1 gets H(username:realm:password), auth_password is emptied. Rows without a
-- realm keep their password, because an HA1 is of one realm. An auth_ha1 that is there already stays. There is no way
-- back: keep the passwords elsewhere. Any number of times: mysql trunks < db/mysql/ha1.sql

-- Carriers that offer SHA-256 and no MD5: name their realms and run this first. An MD5 HA1 is of no use to them.
--
-- UPDATE uacreg
--    SET auth_ha1 = SHA2(CONVERT(CONCAT(auth_username, ':', realm, ':', auth_password) USING utf8mb4), 256),
--        auth_password = ''
--  WHERE realm IN ('carrier.example') AND auth_username <> '' AND auth_password <> '' AND auth_ha1 = '';

-- Assignments take effect from left to right here: the password goes last. Lengths are compared, because a password of
-- blanks equals '' in many collations.
UPDATE uacreg
   SET auth_ha1 = CASE
           WHEN auth_ha1 = '' THEN MD5(CONVERT(CONCAT(auth_username, ':', realm, ':', auth_password) USING utf8mb4))
           ELSE auth_ha1
       END,
       auth_password = ''
 WHERE LENGTH(realm) > 0 AND LENGTH(auth_username) > 0 AND LENGTH(auth_password) > 0;
